// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>

#include "base/errors.h"
#include "cli/commands.h"

namespace {

int report(int code, const char* kind, const char* what) {
  fmt::print(stderr, "megafold: {}: {}\n", kind, what);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace megafold;
  CLI::App app{"megafold: train AlphaFold 3-class models from an ahead-of-time cache", "megafold"};
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  megafold cache build --data data/entries --out cache\n"
      "  megafold train configs/demo.yaml --run runs/demo\n"
      "  megafold predict --run runs/demo\n"
      "\n"
      "Exit codes: 0 done, 2 bad usage or input, 3 corrupt data, 4 device or memory, 130 "
      "interrupted.");
  cli::add_cache_command(app);
  cli::add_data_command(app);
  cli::add_ccd_command(app);
  cli::add_import_command(app);
  cli::add_msa_command(app);
  cli::add_train_command(app);
  cli::add_predict_command(app);
  cli::add_report_command(app);
  cli::add_doctor_command(app);
  cli::add_convert_command(app);
  cli::add_parity_command(app);
  cli::add_bench_command(app);
  cli::add_version_command(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const cli::ExitWith& exit) {
    return exit.code;
  } catch (const BadInput& error) {
    return report(2, "bad input", error.what());
  } catch (const Unsupported& error) {
    return report(2, "not supported", error.what());
  } catch (const Corrupt& error) {
    return report(3, "corrupt data", error.what());
  } catch (const Device& error) {
    return report(4, "device", error.what());
  } catch (const std::bad_alloc&) {
    return report(4, "device", "out of memory: use a smaller crop or fewer diffusion samples");
  } catch (const std::exception& error) {
    return report(4, "internal error", error.what());
  }
}
