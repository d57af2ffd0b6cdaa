#!/usr/bin/env bash
# PGCA, its parts and every other explainer, on four trainings of cnn-tiny, clean and attacked.
# Usage: experiments/explanations/run.sh OUT    (run again to go on after a kill; then collect.py OUT > tables.md)
# Set NETS, N_CLAIMS, N_STABILITY, N_GRID to run less or more; the defaults are those of docs/results/explanations.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: run.sh OUT}
nets=${NETS:-"fgmf-0 standard-0 pgd-at-0 scor-pio-0"}
cargo build --release --locked --quiet
fgmf=${CARGO_TARGET_DIR:-target}/release/fgmf
variants=experiments/explanations/variants.txt

# net: the settings of experiments/first-form, and standard.json here.
train() {
  local dir=$out/nets/$1 config=experiments/first-form/${1%-*}.json
  mkdir -p "$dir"
  [ -e "$config" ] || config=experiments/explanations/${1%-*}.json
  sed "s/\"seed\": 0/\"seed\": ${1##*-}/" "$config" > "$dir/config.json"
  "$fgmf" train --config "$dir/config.json" --quiet --out "$dir" > "$dir/table.txt"
}

# part net label explainer metrics n settings [more flags]
evaluate() {
  local dir=$out/$1/$2/$3 model=$out/nets/$2/model.onnx
  [ -e "$dir/evaluation.json" ] && return
  mkdir -p "$dir"
  "$fgmf" evaluate "$model" --data fashion-mnist-mini --explainers "$4" --metrics "$5" -n "$6" --settings "$7" --quiet --out "$dir" "${@:8}" \
    > "$dir/table.txt"
  echo "$1 $2 $3"
}

methods="pgca saliency gradient-x-input guided-backprop integrated-gradients gradient-shap deep-lift deep-shap lrp-epsilon lrp-alpha-beta
  grad-cam grad-cam-pp layer-cam score-cam occlusion rise kernel-shap smooth-grad square-grad var-grad contrast"

for net in $nets; do train "$net"; done

# Falsifier 3: LeRF minus MoRF under ROAD. Variants of PGCA (label, then settings) on the net that the claim is about.
for net in $nets; do
  n=${N_CLAIMS:-500}
  [ "$net" = fgmf-0 ] || n=${N_OTHERS:-100}
  for method in $methods; do evaluate claims "$net" "$method" "$method" lerf-minus-morf "$n" '{}'; done
  [ "$net" = fgmf-0 ] || continue
  while read -r label id settings; do
    evaluate claims "$net" "$label" "$id" lerf-minus-morf "$n" "$settings"
  done < <(grep -v '^#' "$variants")
done

# Stability under attack: both searches, and each alone.
faithful=$(grep '^pgca-faithful ' "$variants" | cut -d' ' -f3)
for net in $nets; do
  n=${N_STABILITY:-200}
  for method in pgca grad-cam-pp pgca-faithful; do
    id=$method own=
    [ "$method" = pgca-faithful ] && id=pgca own=,${faithful:1:-1}
    stability() { evaluate stability "$net" "$1" "$id" attacked-stability "$n" "{\"attacked-stability\": {$2}$own}" --attack none; }
    stability "$method" ''
    stability "$method@gradients" '"queries": 0'
    stability "$method@scores" '"steps": 0, "queries": 200'
  done
done

# Everything else at a smaller n.
for net in $nets; do
  for method in $methods; do
    evaluate grid "$net" "$method" "$method" "${GRID_METRICS:-sufficiency,road,deletion,insertion,criteria,sparseness,entropy}" "${N_GRID:-100}" '{}'
  done
done
