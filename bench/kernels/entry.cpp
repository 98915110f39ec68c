// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// C entries of the kernels for the Python benchmark, which loads them by ctypes: one shared library
// of the kernels and this file, without torch. Params are passed as they are (measure.py mirrors
// them). A launch returns 0, or 1 with a message in megafold_bench_message().
#include <cstdio>
#include <exception>
#include <string>

#include "kernels/evo_attention/sm90a/sm90a.h"

using namespace megafold::kernels;

namespace {

thread_local std::string message;

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

const char* megafold_bench_message() {
  return message.c_str();
}

size_t evo_attention_forward_params_bytes() {
  return sizeof(EvoAttentionForward);
}
const char* evo_attention_forward_reasons(const EvoAttentionForward* params) {
  return reasons_of(kSm90aForward, *params);
}
int64_t evo_attention_forward_workspace(const EvoAttentionForward* params) {
  return kSm90aForward.workspace_bytes(*params);
}
size_t evo_attention_backward_params_bytes() {
  return sizeof(EvoAttentionBackward);
}
const char* evo_attention_backward_reasons(const EvoAttentionBackward* params) {
  return reasons_of(kSm90aBackward, *params);
}
int64_t evo_attention_backward_workspace(const EvoAttentionBackward* params) {
  return kSm90aBackward.workspace_bytes(*params);
}
int evo_attention_backward_launch(const EvoAttentionBackward* params, void* workspace,
                                  void* stream) {
  return launch_of(kSm90aBackward, *params, workspace, stream);
}
int evo_attention_forward_launch(const EvoAttentionForward* params, void* workspace, void* stream) {
  return launch_of(kSm90aForward, *params, workspace, stream);
}

}  // extern "C"
