#!/usr/bin/env bash
# The ladder: ViT-Ti, S and B pre-trained alike (same frames, same views), then probes,
# reconstruction and the size x scale sweep on them. Everything resumes: run it again after a kill.
#
#     VIEWS=1024000 SIZES="vitt vits vitb" bash benchmarks/ladder.sh runs/ladder
#
# PIECES="pretrain probe reconstruct sweep" names those that run; PRETRAIN holds further settings.
set -euo pipefail
out=${1:-runs/ladder}
views=${VIEWS:-1024000}
read -ra sizes <<< "${SIZES:-vitt vits vitb}"
level=${LEVEL:-precise}
pieces=" ${PIECES:-pretrain probe reconstruct sweep} "
read -ra further <<< "${PRETRAIN:-}"
runs() { [[ $pieces == *" $1 "* ]]; }

cards=()
for size in "${sizes[@]}"; do
  if runs pretrain; then
    s2robot pretrain recipe="$size" views="$views" out="$out/$size" "${further[@]}"
  fi
  cards+=("file:$out/$size/encoder.json")
done
joined=$(IFS=,; echo "${cards[*]}")

if runs probe; then
  s2robot probe "${cards[@]}" --scales '[1]' '[1,2]' '[1,2,3]' --level "$level" \
    --out "$out/probes"
fi
if runs reconstruct && ((${#cards[@]} > 1)); then
  reference=()
  if ((${#cards[@]} > 2)); then reference=(--reference "${cards[2]}"); fi
  s2robot reconstruct --source "${cards[0]}" --target "${cards[1]}" "${reference[@]}" \
    --scales '[1]' '[1,2]' '[1,2,3]' --frames "pick-cube/$level" --count 1200 --per-place --out "$out/reconstruct"
fi
if runs sweep; then
  s2robot sweep encoder="$joined" 'scales=[1],[1,2],[1,2,3]' seed=0,1,2 level="$level" \
    runs_dir="$out/sweep"
fi
