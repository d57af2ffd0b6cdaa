#!/bin/sh
# Trains the undefended network, two that hold a planted defence from the start and five honest ones, plants the other defences, writes
# OUT/table.md (verdicts) and OUT/flags.txt (what each attack of the suite breaks, and the evidence behind each flag).
# Usage: experiments/planted/run.sh OUT
set -eu
out=$1
fgmf="cargo run --release --locked -p fgmf-cli --"
train="$fgmf --quiet train --data fashion-mnist-mini --eps 0.1 --epochs 12"
$train --objective standard --seed 0 --out "$out/standard"
$train --objective standard --k-wta 0.1 --seed 0 --out "$out/k-wta"
$train --objective distillation --temperature 20 --seed 0 --out "$out/teacher"
$train --objective distillation --temperature 20 --teacher "$out/teacher/model.onnx" --seed 0 --out "$out/distilled"
honest=""
for seed in 0 1 2 3 4; do
    $train --objective pgd-at --seed $seed --out "$out/pgd-at-$seed"
    honest="$honest $out/pgd-at-$seed/model.onnx"
done
cargo run --release --locked -p fgmf --example planted -- "$out/standard/model.onnx" "$out/k-wta/model.onnx" "$out/distilled/model.onnx" \
    $honest > "$out/table.md" 2> "$out/flags.txt"
