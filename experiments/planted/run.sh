#!/bin/sh
# Trains the undefended network and five honest ones, plants the defences, writes OUT/table.md (verdicts) and OUT/flags.txt (evidence).
# Usage: experiments/planted/run.sh OUT
set -eu
out=$1
fgmf="cargo run --release --locked -p fgmf-cli --"
$fgmf --quiet train --data fashion-mnist-mini --objective standard --eps 0.1 --epochs 12 --seed 0 --out "$out/standard"
honest=""
for seed in 0 1 2 3 4; do
    $fgmf --quiet train --data fashion-mnist-mini --objective pgd-at --eps 0.1 --epochs 12 --seed $seed --out "$out/pgd-at-$seed"
    honest="$honest $out/pgd-at-$seed/model.onnx"
done
cargo run --release --locked -p fgmf --example planted -- "$out/standard/model.onnx" $honest > "$out/table.md" 2> "$out/flags.txt"
