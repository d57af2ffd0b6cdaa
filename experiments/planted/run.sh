#!/bin/sh
# Trains the undefended network, three for a planted defence that belongs to training and five honest ones, plants the other defences, writes
# OUT/table.md (verdicts) and OUT/flags.txt (what each attack of the suite breaks, and the evidence behind each flag). Run again after a kill it
# goes on where it was: in the training that was under way, at the row of the table that was missing.
# Usage: experiments/planted/run.sh OUT
set -eu
out=$1
train() { # NAME FLAGS...
    name=$1
    shift
    [ -e "$out/$name/model.onnx" ] || cargo run --release --locked -p fgmf-cli -- --quiet train \
        --data fashion-mnist-mini --eps 0.1 --epochs 12 --out "$out/$name" "$@"
}
train standard --objective standard --seed 0
train k-wta --objective standard --k-wta 0.1 --seed 0
train moved --objective standard --resize-pad 0.9 --seed 0
train teacher --objective distillation --temperature 20 --seed 0
train distilled --objective distillation --temperature 20 --teacher "$out/teacher/model.onnx" --seed 0
honest=""
for seed in 0 1 2 3 4; do
    train "pgd-at-$seed" --objective pgd-at --seed $seed
    honest="$honest $out/pgd-at-$seed/model.onnx"
done
cargo run --release --locked -p fgmf --example planted -- "$out" "$out/standard/model.onnx" "$out/k-wta/model.onnx" \
    "$out/distilled/model.onnx" "$out/moved/model.onnx" $honest
