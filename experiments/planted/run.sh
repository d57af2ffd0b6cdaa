#!/bin/sh
# Planted defences and honest training under the masking verdict. Its results are
# docs/results/planted.md.
#
# Usage: experiments/planted/run.sh OUT
#
# Trains the undefended network, those of the three planted defences that belong to training, and
# five honest ones. Then it plants the other defences. It writes OUT/table.md (verdicts) and
# OUT/flags.txt (what each attack of the suite breaks, and the evidence behind each flag). Run it
# again after a kill: it goes on in the training that was under way, or at the first missing row of
# the table.
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
