#!/usr/bin/env bash
# How often an honest network is called anything but trustworthy: suite `quick`, three norms, four
# radii each, 100 test images. Its result is in docs/results/planted.md.
#
# Usage: experiments/planted/honest.sh OUT MODEL.onnx...
# FGMF names a binary to use instead of building one, SUITE another suite, LIMIT another number of
# images. Run it again after a kill: it goes on at the first missing run.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: honest.sh OUT MODEL.onnx...}
shift
fgmf=${FGMF:-${CARGO_TARGET_DIR:-target}/release/fgmf}
[ -n "${FGMF:-}" ] || cargo build --release --locked --quiet
mkdir -p "$out"
runs=0 alarms=0
for model in "$@"; do
  for ball in "linf 0.01" "linf 0.05" "linf 0.1" "linf 0.2" "l2 0.25" "l2 0.5" "l2 1" "l2 2" \
    "l1 2" "l1 5" "l1 10" "l1 20"; do
    read -r norm eps <<< "$ball"
    dir=$out/$(echo "$model" | tr / _)-$norm-$eps
    if [ ! -s "$dir.txt" ]; then
      "$fgmf" attack "$model" --data fashion-mnist-mini --limit "${LIMIT:-100}" \
        --suite "${SUITE:-quick}" --norm "$norm" --eps "$eps" --quiet --out "$dir" > "$dir.new"
      mv "$dir.new" "$dir.txt"
    fi
    runs=$((runs + 1))
    if ! grep -q 'masking verdict: trustworthy' "$dir.txt"; then
      alarms=$((alarms + 1))
      echo "$model $norm $eps: $(sed -n '/masking verdict/,$p' "$dir.txt" | cut -c1-100)"
    fi
  done
done
echo "$alarms false alarms in $runs runs"
