#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
# What a minute on a GPU tells about the package that is on Python's path:
#   check_package.sh FOLDER [SECONDS]
# Three processes side by side run the GPU cases of test_nn.py (which prints the weights' gradients'
# errors over those of PyTorch's steps), the quick ones of test_ops.py and the seeds of test_fuzz.py
# (MEGAFOLD_FUZZ=0:60); each is ended after SECONDS (60). FOLDER gets a log and a JUnit file of each.
# Ends with 1 if one failed or ran out of time. Needs pytest.
set -uo pipefail
tests=$(cd "$(dirname "$0")/../../python/tests" && pwd)
out=$(realpath -m "${1:?usage: check_package.sh FOLDER [SECONDS]}")
seconds=${2:-60}
mkdir -p "$out"
cd /  # not in a checkout, whose python/ would hide the installed package
# Tracing for the compiler, gigabytes and 66,000 rows take half of test_ops' time.
slow="opcheck or compil or 2_to_the_31 or more_rows"
declare -A pick=([test_nn]="cuda and not operator_like_torch" [test_ops]="cuda and not ($slow)" [test_fuzz]=cuda)
declare -A running
for name in "${!pick[@]}"; do
  # Plugins of the machine may be of another pytest.
  PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 timeout "$seconds" "${PYTHON:-python3}" -m pytest -p no:cacheprovider -q -s -ra --durations=5 \
    --junit-xml="$out/$name.xml" -k "${pick[$name]}" "$tests/$name.py" >"$out/$name.log" 2>&1 &
  running[$!]=$name
done
failed=0
for pid in "${!running[@]}"; do
  wait "$pid"
  code=$?  # 124: out of time
  [ $code = 0 ] || { failed=1; echo "${running[$pid]} ended with $code: see $out/${running[$pid]}.log"; }
done
grep -h "error over the steps" "$out/test_nn.log"
grep -hE "^FAILED|^ERROR| passed| failed" "$out"/test_*.log
exit $failed
