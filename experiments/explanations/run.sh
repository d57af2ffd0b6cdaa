#!/usr/bin/env bash
# PGCA, its parts and every other explainer, on trainings of cnn-tiny, clean and attacked.
# Its results are docs/results/explanations.md and docs/results/explanations-grid.md.
#
# Usage: experiments/explanations/run.sh OUT
# Run it again to go on after a kill. Then: collect.py OUT > tables.md
#
# NETS, PARTS, N_CLAIMS, N_OTHERS, N_STABILITY, N_GRID, N_GRID_OTHERS, N_SLOW run less or more. The
# defaults are those of the pages. FGMF names a binary to use instead of building one.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: run.sh OUT}
nets=${NETS:-"fgmf-0 standard-0 pgd-at-0 scor-pio-0 fgmf-1 fgmf-2"}
fgmf=${FGMF:-${CARGO_TARGET_DIR:-target}/release/fgmf}
[ -n "${FGMF:-}" ] || cargo build --release --locked --quiet
variants=experiments/explanations/variants.txt

all="pgca-published saliency gradient-x-input guided-backprop integrated-gradients gradient-shap deep-lift deep-shap lrp-epsilon lrp-alpha-beta
  grad-cam grad-cam-pp layer-cam score-cam occlusion rise kernel-shap smooth-grad square-grad var-grad contrast"
forms=$(grep -v '^#' "$variants" | cut -d' ' -f1)
few="pgca-published pgca-faithful deep-shap gradient-shap grad-cam-pp"

# net-seed: the settings of experiments/first-form, and standard.json here.
train() {
  local dir=$out/nets/$1 config=experiments/first-form/${1%-*}.json
  [ -e "$dir/model.onnx" ] && return
  mkdir -p "$dir"
  [ -e "$config" ] || config=experiments/explanations/${1%-*}.json
  sed "s/\"seed\": 0/\"seed\": ${1##*-}/" "$config" > "$dir/config.json"
  "$fgmf" train --config "$dir/config.json" --quiet --out "$dir" > "$dir/table.txt"
}

# part net row method metrics n [settings of the metrics [more flags]]
# A method is an explainer, or a form of PGCA from variants.txt.
evaluate() {
  local part=$1 net=$2 row=$3 method=$4 metrics=$5 n=$6 own=${7:-} dir=$out/$1/$2/$3 id=$4 form
  [ -e "$dir/evaluation.json" ] && return
  train "$net"
  mkdir -p "$dir"
  if form=$(grep "^$method " "$variants"); then
    read -r _ id form <<< "$form"
    own=${own:+$own,}${form:1:-1}
  fi
  "$fgmf" evaluate "$out/nets/$net/model.onnx" --data fashion-mnist-mini --explainers "$id" --metrics "$metrics" -n "$n" --settings "{$own}" \
    --quiet --out "$dir" "${@:8}" > "$dir/table.txt"
  echo "$part $net $row"
}

# Falsifier 3: LeRF minus MoRF under ROAD. The net that the claim is about gets every form of PGCA,
# its other seeds get a few methods.
claims() {
  local net method methods n
  for net in $nets; do
    n=${N_CLAIMS:-500}
    case $net in
      fgmf-0) methods="$all $forms" ;;
      fgmf-*) methods=$few ;;
      *) methods="$all pgca-faithful" n=${N_OTHERS:-100} ;;
    esac
    for method in $methods; do evaluate claims "$net" "$method" "$method" lerf-minus-morf "$n"; done
  done
}

# Stability under attack: both searches, and each alone.
stability() {
  local net method n=${N_STABILITY:-200}
  search() { evaluate stability "$net" "$method$1" "$method" attacked-stability "$n" "\"attacked-stability\": {$2}" --attack none; }
  for net in $nets; do
    [[ $net = *-0 ]] || continue
    for method in pgca-published grad-cam-pp pgca-faithful; do
      search '' ''
      search @gradients '"queries": 0'
      search @scores '"steps": 0, "queries": 200'
    done
  done
}

# Everything else at a smaller n. Metrics that explain an image hundreds of times get a few images
# of the net that the claims are about.
grid() {
  local net method n
  local metrics=${GRID_METRICS:-sufficiency,road,deletion,insertion,infidelity,faithfulness-correlation,sensitivity-n,criteria,sparseness,entropy,max-sensitivity,relative-stability,mosaic,mprt,efficient-mprt}
  for net in $nets; do
    case $net in
      fgmf-0) n=${N_GRID:-100} ;;
      *-0) n=${N_GRID_OTHERS:-50} ;;
      *) continue ;;
    esac
    for method in $all pgca-faithful; do evaluate grid "$net" "$method" "$method" "$metrics" "$n"; done
  done
  for method in $all pgca-faithful; do evaluate slow fgmf-0 "$method" "$method" smooth-mprt,certified-top-k "${N_SLOW:-8}"; done
}

for part in ${PARTS:-claims stability grid}; do "$part"; done
