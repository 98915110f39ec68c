// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// C entries of the kernels for the Python benchmark, which loads them by ctypes: one shared library
// of the kernels and this file, without torch. Params are passed as they are (library.py mirrors
// them). A launch returns 0, or 1 with a message in megafold_bench_message(). The Hopper kernels
// run unless megafold_bench_portable(1) was called, in a library that holds the portable ones.
#include <cstdio>
#include <exception>
#include <string>

#ifdef MEGAFOLD_BENCH_PORTABLE
#include "kernels/evo_attention/portable/portable.h"
#endif
#include "kernels/evo_attention/sm90a/sm90a.h"

using namespace megafold::kernels;

namespace {

thread_local std::string message;
[[maybe_unused]] bool portable = false;

const Implementation<EvoAttentionForward>& chosen_forward() {
#ifdef MEGAFOLD_BENCH_PORTABLE
  if (portable) return kPortableForward;
#endif
  return kSm90aForward;
}
const Implementation<EvoAttentionBackward>& chosen_backward() {
#ifdef MEGAFOLD_BENCH_PORTABLE
  if (portable) return kPortableBackward;
#endif
  return kSm90aBackward;
}

template <class Params>
const char* reasons_of(const Implementation<Params>& kernel, const Params& params) {
  message.clear();
  for (const std::string& reason : kernel.supports(params)) {
    message += (message.empty() ? "" : "; ") + reason;
  }
  return message.c_str();
}

template <class Params>
int launch_of(const Implementation<Params>& kernel, const Params& params, void* workspace,
              void* stream) {
  try {
    kernel.launch(params, workspace, stream);
    return 0;
  } catch (const std::exception& error) {
    message = error.what();
    return 1;
  }
}

}  // namespace

extern "C" {

/// Returns 1 where the library holds the portable kernels, which then run (or no longer).
int megafold_bench_portable([[maybe_unused]] int on) {
#ifdef MEGAFOLD_BENCH_PORTABLE
  portable = on != 0;
  return 1;
#else
  return 0;
#endif
}

const char* megafold_bench_message() {
  return message.c_str();
}

size_t evo_attention_forward_params_bytes() {
  return sizeof(EvoAttentionForward);
}
const char* evo_attention_forward_reasons(const EvoAttentionForward* params) {
  return reasons_of(chosen_forward(), *params);
}
int64_t evo_attention_forward_workspace(const EvoAttentionForward* params) {
  return chosen_forward().workspace_bytes(*params);
}
size_t evo_attention_backward_params_bytes() {
  return sizeof(EvoAttentionBackward);
}
const char* evo_attention_backward_reasons(const EvoAttentionBackward* params) {
  return reasons_of(chosen_backward(), *params);
}
int64_t evo_attention_backward_workspace(const EvoAttentionBackward* params) {
  return chosen_backward().workspace_bytes(*params);
}
int evo_attention_backward_launch(const EvoAttentionBackward* params, void* workspace,
                                  void* stream) {
  return launch_of(chosen_backward(), *params, workspace, stream);
}
int evo_attention_forward_launch(const EvoAttentionForward* params, void* workspace, void* stream) {
  return launch_of(chosen_forward(), *params, workspace, stream);
}

}  // extern "C"
