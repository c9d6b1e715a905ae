#!/usr/bin/env bash
# Runs the benchmarks for GPUs, in under ten minutes on one GPU, and the tests marked `gpu`.
#
#     bash benchmarks/gpu.sh [--quick] [fer2013plus.npz]
#
# Measures epochs against their network passes alone (ResNet-18 at 48 pixels, ResNet-50 at 112 and
# 224), views, speedups, the split, and one training of ResNet-18 on FER2013/FER+ (on drawn faces if
# no file is given). Results go to benchmarks/results/ under the device's name. --quick checks on any
# machine that every part runs, with small sizes, and writes nothing there. Needs a Python with this
# package's requirements, scikit-learn and pytest; PYTHON names it (default: python).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
quick=()
if [[ ${1:-} == --quick ]]; then
    quick=(--quick)
    shift
fi
data=${1:+arrays:$1}
failed=()

# If a part fails, the others still run, and the script fails at its end.
part() {
    local limit=$1
    shift
    echo "== $*"
    timeout "$limit" "$@" || failed+=("$*")
}

if [[ ${#quick[@]} -eq 0 ]]; then
    # Without this project's pytest options, which need packages for development.
    part 60 "$python" -m pytest -q -m gpu -o addopts= tests/training/test_devices.py
fi
cases=(resnet18:48 resnet50:112 resnet50:224)
if [[ ${#quick[@]} -gt 0 ]]; then
    cases=(resnet18:32)
fi
part 180 "$python" benchmarks/epoch.py --data synthetic --cases "${cases[@]}" "${quick[@]}"
part 60 "$python" benchmarks/views.py "${quick[@]}"
part 90 "$python" benchmarks/speedups.py "${quick[@]}"
part 60 "$python" benchmarks/split.py --repeats 3 "${quick[@]}"
if [[ ${#quick[@]} -gt 0 ]]; then
    data=synthetic:train=200,test=70
    part 120 "$python" benchmarks/real.py --data "$data" --quick
else
    part 240 "$python" benchmarks/real.py --data "${data:-synthetic}"
fi
if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
