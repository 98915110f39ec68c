// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/publish.h"
#include "batch/loader.h"
#include "checkpoint/checkpoint.h"
#include "kernels/common/dispatch_counts.h"
#include "loss/permutation.h"
#include "model/model.h"
#include "ops/device.h"
#include "train/feed.h"
#include "train/metrics.h"
#include "train/progress.h"
#include "train/samples.h"
#include "train/tfevents.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Seconds since the last call, or since it was made.
class Stopwatch {
 public:
  double lap() {
    const auto now = Clock::now();
    return std::chrono::duration<double>(now - std::exchange(start_, now)).count();
  }

 private:
  Clock::time_point start_ = Clock::now();
};

/// The run's folder, made or found as the options want it. Returns whether a checkpoint is there
/// to go on from.
bool open_folder(const fs::path& folder, const RunOptions& options) {
  const fs::path checkpoint = folder / kCheckpointFile;
  const std::array<fs::path, 6> parts = {
      checkpoint,        previous_checkpoint(checkpoint), folder / "metrics.jsonl",
      folder / "events", folder / "config.yaml",          folder / kQuarantineFile};
  std::error_code error;
  if (options.overwrite)
    for (const fs::path& part : parts) fs::remove_all(part, error);
  if (options.resume) return fs::exists(checkpoint);
  for (const fs::path& part : parts)
    if (fs::exists(part))
      fail<BadInput>(
          "{}: holds a run already ({}); go on with --resume, begin again with "
          "--overwrite, or choose another folder with --run",
          folder.string(), part.filename().string());
  return false;
}

class Trainer {
 public:
  Trainer(const TrainConfig& config, const std::shared_ptr<const CacheReader>& cache,
          const RunOptions& options)
      : config_(config),
        options_(options),
        folder_(config.run),
        resumed_(open_folder(folder_, options)),
        device_(parse_device(config.device)),
        cache_(cache),
        model_(config.model, static_cast<uint64_t>(config.seed)),
        optimizer_(make_optimizer()),
        admitted_(admit_entries(config, *cache)),
        loader_(cache, make_sampler(config, *cache, admitted_.kept), config.batch,
                loader_options(config, state_.next_visit), static_cast<uint64_t>(config.seed)),
        feed_(loader_, device_),
        progress_(options.progress, config.training.log_steps) {}

  RunResult run() {
    publish(folder_ / "config.yaml", config_yaml(config_));
    metrics_.emplace(folder_ / "metrics.jsonl");
    const double now = unix_seconds();
    events_.emplace(folder_ / "events", now,
                    resumed_ ? std::optional<int64_t>(state_.step + 1) : std::nullopt);
    announce(now);
    bool interrupted = false;
    Stopwatch whole;
    while (state_.step < config_.training.steps && !out_of_time()) {
      step();
      state_.train_seconds += whole.lap();
      kill_point("train.step");
      interrupted = options_.interrupted != nullptr && options_.interrupted->load();
      if (interrupted) break;
      if (state_.step % config_.training.checkpoint_steps == 0) save();
    }
    if (saved_step_ != state_.step) save();
    metrics_->append({{"event", "end"},
                      {"step", state_.step},
                      {"time", unix_seconds()},
                      {"train_seconds", state_.train_seconds},
                      {"interrupted", interrupted},
                      {"peak_memory_mb", peak_resident_mib()},
                      {"skipped", feed_.skipped().size()},
                      {"kernels", dispatched()}});
    return {state_.step, state_.train_seconds, interrupted, checkpoint()};
  }

 private:
  [[nodiscard]] fs::path checkpoint() const { return folder_ / kCheckpointFile; }
  [[nodiscard]] bool out_of_time() const {
    return config_.training.seconds > 0 && state_.train_seconds >= config_.training.seconds;
  }

  /// Places the model, takes over what the run goes on from, and makes the optimizer.
  Optimizer make_optimizer() {
    if (config_.threads > 0) at::set_num_threads(static_cast<int>(config_.threads));
    model_.parameters().to(device_, at::kFloat);
    at::globalContext().setAllowTF32CuBLAS(config_.training.precision != "f32");
    state_.seed = static_cast<uint64_t>(config_.seed);
    state_.cache_key = cache_->content_key();
    state_.config = config_json(config_).dump();
    state_.program = options_.program;
    if (!resumed_ && !config_.training.start_from.empty()) {
      const Checkpoint start(config_.training.start_from);
      start.require_model(config_.model);
      start.load_weights(model_.parameters(), Weights::average);
    }
    if (!resumed_) return Optimizer(model_.parameters(), config_.optimizer);

    const Checkpoint last(checkpoint());
    last.require_model(config_.model);
    require_same_run(config_, json::parse(last.state().config));
    if (last.state().cache_key != state_.cache_key)
      fail<BadInput>(
          "{}: the run was trained on another cache (content key {} there, {} in {}); "
          "give that one with data.cache, or start a new run with training.start_from",
          checkpoint().string(), last.state().cache_key, state_.cache_key, config_.data.cache);
    last.load_weights(model_.parameters(), Weights::raw);
    Optimizer optimizer(model_.parameters(), config_.optimizer);
    last.load_optimizer(optimizer);
    state_.step = saved_step_ = last.state().step;
    state_.next_visit = last.state().next_visit;
    state_.train_seconds = last.state().train_seconds;
    return optimizer;
  }

  void announce(double now) {
    std::vector<std::string> entries;
    for (const SamplingElement& element : loader_.sampler().elements())
      if (entries.empty() || entries.back() != element.entry) entries.push_back(element.entry);
    progress_.say(
        fmt::format("{} {} parameters on {} in {}, {} entries of {}, crop {} tokens, {} samples "
                    "x {} diffusion copies a step",
                    resumed_ ? fmt::format("going on after step {}:", state_.step) : "training",
                    model_.parameters().count(), config_.device, config_.training.precision,
                    entries.size(), config_.data.cache, config_.batch.crop.tokens,
                    config_.training.batch, config_.model.diffusion_samples));
    constexpr size_t kShown = 10;
    size_t shown = 0;
    for (const auto& [entry, rule] : admitted_.left_out)
      if (shown++ < kShown) progress_.say(fmt::format("left out: {}: {}", entry, rule));
    if (shown > kShown) progress_.say(fmt::format("left out: {} more", shown - kShown));
    std::string coverage = to_text(coverage_of(*cache_, admitted_.kept));
    coverage.pop_back();  // its last line break
    progress_.say(coverage);
    if (options_.resume && !resumed_)
      progress_.say(fmt::format("{}: no checkpoint to go on from; starting at step 0",
                                checkpoint().string()));
    metrics_->append({{"event", "start"},
                      {"time", now},
                      {"step", state_.step + 1},
                      {"entries_left_out", admitted_.left_out.size()},
                      {"version", options_.program},
                      {"device", config_.device},
                      {"threads", at::get_num_threads()},
                      {"cpu", cpu_name()},
                      {"seed", config_.seed},
                      {"cache_key", state_.cache_key},
                      {"entries", entries},
                      {"parameters", model_.parameters().count()},
                      {"config", config_json(config_)}});
  }

  /// Losses of one sample, and the passes of the trunk that were made. What ATen throws (memory, a
  /// decomposition of values that are not finite) is told with the sample's name.
  std::pair<TrainingLosses, int64_t> forward(const Batch& batch) {
    const auto where = [&] {
      return fmt::format("step {}, entry {} (visit {}, {} tokens, {} atoms)", state_.step + 1,
                         batch.id, batch.visit, batch.num_tokens(), batch.num_atoms());
    };
    try {
      const bool permute =
          config_.training.permute && batch.symmetry && has_choice(*batch.symmetry);
      TrainOptions options{.seed = static_cast<uint64_t>(config_.seed),
                           .cycles = config_.training.cycles,
                           .dropout = config_.training.dropout,
                           .noise = config_.training.noise,
                           .rollout_steps = config_.training.rollout_steps,
                           .confidence = confidence_due()};
      options.recompute = config_.training.recompute;
      if (config_.training.precision == "bf16") options.trunk_type = at::kBFloat16;
      if (permute) options.labels = permuted_labels;
      const TrainingOutput output = model_.forward_train(batch, options);
      return {training_losses(output, batch, config_.loss, conventions_of(config_.model.dialect)),
              output.cycles};
    } catch (const BadInput& error) {
      fail<BadInput>("{}: {}; {}", where(), error.what(), stopped());
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      std::string reason = error.what();  // its first line: the rest is a stack trace
      reason.resize(std::min(reason.find('\n'), reason.size()));
      fail<Device>("{}: {}; {}", where(), reason, stopped());
    }
  }

  /// The confidence head is trained at the step that comes.
  [[nodiscard]] bool confidence_due() const {
    return state_.step % config_.training.confidence_every == 0 && config_.loss.confidence > 0;
  }

  /// One sample: forward, losses, backward; adds its share to the report.
  void run_sample(Stopwatch& watch, StepReport& report) {
    const auto [batch, checksum] = feed_.next();
    report.batches += fmt::format("{}{:016x}", report.batches.empty() ? "" : ",", checksum);
    report.data_seconds += watch.lap();
    const auto [losses, cycles] = forward(batch);
    const double share = 1.0 / static_cast<double>(config_.training.batch);
    const double loss = losses.total.item<double>();
    const double diffusion = losses.diffusion_mse.mean().item<double>();
    const double lddt = losses.smooth_lddt.item<double>();
    const double distogram = losses.distogram.item<double>();
    if (!std::isfinite(loss))
      fail<BadInput>(
          "step {}: the loss of entry {} (visit {}) is {} (diffusion {}, smooth lDDT {}, "
          "distogram {}); {}",
          state_.step + 1, batch.id, batch.visit, loss, diffusion, lddt, distogram, stopped());
    report.loss += share * loss;
    report.diffusion_mse += share * diffusion;
    report.diffusion_mse_trivial += share * losses.trivial_mse.mean().item<double>();
    report.smooth_lddt += share * lddt;
    report.distogram += share * distogram;
    const std::pair<const char*, const at::Tensor*> optional[] = {
        {"bond", &losses.bond},
        {"plddt_loss", &losses.plddt},
        {"pae_loss", &losses.pae},
        {"pde_loss", &losses.pde},
        {"resolved_loss", &losses.experimentally_resolved}};
    for (const auto& [name, value] : optional)
      if (value->defined()) report.optional[name].push_back(value->item<double>());
    report.tokens += batch.num_tokens();
    report.cycles += cycles;
    report.entries += (report.entries.empty() ? "" : ",") + batch.id;
    report.forward_seconds += watch.lap();
    // In the last stage an entry without a resolution has no loss that is left.
    if (losses.total.requires_grad()) (losses.total * share).backward();
    report.backward_seconds += watch.lap();
    feed_.prefetch();  // a GPU still has its backward pass before it
    report.data_seconds += watch.lap();
  }

  /// What to do about a value that is not finite.
  [[nodiscard]] std::string stopped() const {
    return fmt::format(
        "stopped before the optimizer used it; {}; a lower optimizer.learning_rate "
        "or optimizer.clip_norm may help, and data.entries leaves an entry out",
        saved_step_ > 0 || resumed_ ? fmt::format("the last good checkpoint is {}, of step {}",
                                                  checkpoint().string(), saved_step_)
                                    : "no checkpoint was due yet");
  }

  void step() {
    StepReport report;
    report.step = state_.step + 1;
    Stopwatch watch;
    for (int64_t i = 0; i < config_.training.batch; ++i) run_sample(watch, report);
    report.learning_rate = optimizer_.learning_rate();
    report.gradient_norm = optimizer_.gradient_norm();
    if (!std::isfinite(report.gradient_norm))
      fail<BadInput>(
          "step {}: the gradient of {} is not finite, loss {} of entries {} (visits "
          "before {}); {}",
          report.step, optimizer_.first_bad_gradient(), report.loss, report.entries,
          feed_.next_visit(), stopped());
    optimizer_.step(report.gradient_norm);
    report.optimizer_seconds = watch.lap();
    state_.step = report.step;
    state_.next_visit = feed_.next_visit();
    tell(report);
  }

  void tell(const StepReport& r) {
    const double now = unix_seconds();
    const double memory = resident_mib();
    for (; told_skips_ < feed_.skipped().size(); ++told_skips_) {
      const SkippedVisit& skip = feed_.skipped()[told_skips_];
      progress_.say(fmt::format("skipped: {}", skip.reason));
      metrics_->append({{"event", "skipped"},
                        {"step", r.step},
                        {"visit", skip.visit},
                        {"entry", skip.entry},
                        {"reason", skip.reason}});
    }
    json line = {{"event", "step"},
                 {"step", r.step},
                 {"time", now},
                 {"entry", r.entries},
                 {"loss", r.loss},
                 {"diffusion_mse", r.diffusion_mse},
                 {"diffusion_mse_trivial", r.diffusion_mse_trivial},
                 {"smooth_lddt", r.smooth_lddt},
                 {"distogram", r.distogram},
                 {"grad_norm", r.gradient_norm},
                 {"learning_rate", r.learning_rate},
                 {"seconds",
                  {{"data", r.data_seconds},
                   {"forward", r.forward_seconds},
                   {"backward", r.backward_seconds},
                   {"optimizer", r.optimizer_seconds}}},
                 {"wait_share", r.data_seconds / r.seconds()},
                 {"tokens", r.tokens},
                 {"batch", r.batches},
                 {"cycles", r.cycles},
                 {"memory_mb", memory}};
    const auto f = [](double value) { return static_cast<float>(value); };
    std::vector<Scalar> scalars = {
        Scalar{"loss/total", f(r.loss)},
        Scalar{"loss/diffusion", f(r.diffusion_mse)},
        Scalar{"loss/diffusion_trivial", f(r.diffusion_mse_trivial)},
        Scalar{"loss/smooth_lddt", f(r.smooth_lddt)},
        Scalar{"loss/distogram", f(r.distogram)},
        Scalar{"optimizer/gradient_norm", f(r.gradient_norm)},
        Scalar{"optimizer/learning_rate", f(r.learning_rate)},
        Scalar{"speed/step_seconds", f(r.seconds())},
        Scalar{"speed/tokens_per_second", f(static_cast<double>(r.tokens) / r.seconds())},
        Scalar{"speed/wait_share", f(r.data_seconds / r.seconds())}};
    std::vector<std::string> tags;  // what the scalars below look at
    tags.reserve(r.optional.size());
    for (const auto& [name, values] : r.optional) {
      const double mean =
          std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
      line[name] = mean;
      scalars.push_back({tags.emplace_back("loss/" + name), f(mean)});
    }
    metrics_->append(line);
    events_->scalars(r.step, now, scalars);
    tell_kernels();
    progress_.step(r, config_.training.steps, seconds_left(), memory);
  }

  /// Says which implementation takes an operation when it first does, and why those before it in
  /// the order refused: no fall-back is silent.
  void tell_kernels() {
    for (const kernels::DispatchCount& count : kernels::dispatch_counts()) {
      const std::string line = fmt::format(
          "kernel: {} by {}{}", count.operation, count.implementation,
          count.refused.empty() ? "" : fmt::format(" ({})", fmt::join(count.refused, "; ")));
      if (told_kernels_.insert(line).second) progress_.say(line);
    }
  }

  /// How often each implementation ran in this process, for the record.
  static json dispatched() {
    json out = json::array();
    for (const kernels::DispatchCount& count : kernels::dispatch_counts())
      out.push_back({{"operation", count.operation},
                     {"implementation", count.implementation},
                     {"calls", count.calls},
                     {"refused", count.refused}});
    return out;
  }

  /// Until the steps or the seconds are done, whichever comes first.
  [[nodiscard]] double seconds_left() const {
    const double elapsed = state_.train_seconds;  // without the step that has just ended
    double left = elapsed / static_cast<double>(std::max<int64_t>(1, state_.step)) *
                  static_cast<double>(config_.training.steps - state_.step);
    if (config_.training.seconds > 0) left = std::min(left, config_.training.seconds - elapsed);
    return left;
  }

  void save() {
    save_checkpoint(checkpoint(), config_.model, model_.parameters(), optimizer_, state_);
    saved_step_ = state_.step;
    metrics_->append(
        {{"event", "checkpoint"}, {"step", state_.step}, {"path", checkpoint().string()}});
  }

  TrainConfig config_;
  RunOptions options_;
  fs::path folder_;
  bool resumed_;
  at::Device device_;
  std::shared_ptr<const CacheReader> cache_;
  TrainingState state_;
  int64_t saved_step_ = 0;
  size_t told_skips_ = 0;
  std::set<std::string> told_kernels_;
  Model model_;
  Optimizer optimizer_;
  FilterReport admitted_;
  Loader loader_;
  DeviceFeed feed_;
  Progress progress_;
  std::optional<MetricsFile> metrics_;
  std::optional<EventWriter> events_;
};

}  // namespace

RunResult train(const TrainConfig& config, const std::shared_ptr<const CacheReader>& cache,
                const RunOptions& options) {
  return Trainer(config, cache, options).run();
}

}  // namespace megafold
