#!/usr/bin/env bash
# Memory of an attack and a hardening on more images than are held: docs/results/memory.md.
#
# Usage: experiments/streaming/run.sh OUT
#
# N images (100,000) are attacked, and hardened on. FGMF names a binary to use instead of building
# one. The largest resident size of each run is printed in KiB.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: run.sh OUT}
n=${N:-100000}
fgmf=${FGMF:-${CARGO_TARGET_DIR:-target}/release/fgmf}
[ -n "${FGMF:-}" ] || cargo build --release --locked --quiet

mkdir -p "$out"
[ -d "$out/data" ] || python3 experiments/streaming/images.py "$out/data" "$n" 200
[ -e "$out/net/model.onnx" ] || "$fgmf" train --quiet --data "$out/data" --limit 2000 \
  --arch cnn-tiny --objective standard --epochs 2 --out "$out/net"

measured() {
  local name=$1
  shift
  # Exit 1 of `harden` says that no epoch was better: no matter here.
  /usr/bin/time -f "$name: %M KiB, %e s" "$fgmf" "$@" --quiet > "$out/$name.txt" || [ $? -eq 1 ]
}

measured attack attack "$out/net/model.onnx" --data "$out/data" --split train --limit "$n" \
  --suite quick --eps 8/255 --out "$out/attack"
# Every picture passes once; OBJECTIVE=pgd-at attacks each of them on the way.
measured harden harden "$out/net/model.onnx" --data "$out/data" --eps 4/255 --flip --epochs 1 \
  --batch 128 --lr 0.001 --objective "${OBJECTIVE:-standard}" --judge 0 --out "$out/harden"
