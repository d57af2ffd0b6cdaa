#!/usr/bin/env bash
# First form of SCOR-PIO 2.0 and SGAM against their controls: six variants, three seeds, cnn-tiny on
# the embedded slice. Its results are docs/results/first-form.md.
#
# Usage: experiments/first-form/run.sh OUT
# Run it again to go on after a kill. Then: collect.py OUT > results.json
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: run.sh OUT}
cargo build --release --quiet
fgmf=${CARGO_TARGET_DIR:-target}/release/fgmf
for seed in 0 1 2; do
  for variant in pgd-at scor-pio-flat-0 scor-pio scor-pio-random scor-pio-all fgmf; do
    dir=$out/$variant-$seed
    mkdir -p "$dir"
    sed "s/\"seed\": 0/\"seed\": $seed/" "experiments/first-form/$variant.json" > "$dir/config.json"
    "$fgmf" train --config "$dir/config.json" --quiet --out "$dir" > /dev/null
    [ -e "$dir/attack.json" ] || "$fgmf" attack "$dir/model.onnx" --data fashion-mnist-mini --suite quick --seed "$seed" --quiet --out "$dir" > /dev/null
    echo "$variant seed $seed done"
  done
done
