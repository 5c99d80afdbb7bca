#!/usr/bin/env bash
# The ladder: ViT-Ti, S and B pre-trained alike (same frames, same views), then probes,
# reconstruction and the size x scale sweep on them. Everything resumes: run it again after a kill.
#
#     VIEWS=1024000 SIZES="vitt vits vitb" bash benchmarks/ladder.sh runs/ladder
set -euo pipefail
out=${1:-runs/ladder}
views=${VIEWS:-1024000}
read -ra sizes <<< "${SIZES:-vitt vits vitb}"
level=${LEVEL:-precise}

cards=()
for size in "${sizes[@]}"; do
  s2robot pretrain recipe="$size" views="$views" out="$out/$size"
  cards+=("file:$out/$size/encoder.json")
done
joined=$(IFS=,; echo "${cards[*]}")

s2robot probe "${cards[@]}" --scales '[1]' '[1,2]' '[1,2,3]' --level "$level" --out "$out/probes"
if ((${#cards[@]} > 1)); then
  reference=()
  if ((${#cards[@]} > 2)); then reference=(--reference "${cards[2]}"); fi
  s2robot reconstruct --source "${cards[0]}" --target "${cards[1]}" "${reference[@]}" \
    --scales '[1]' '[1,2]' '[1,2,3]' --frames "pick-cube/$level" --count 1200 --per-place --out "$out/reconstruct"
fi
s2robot sweep encoder="$joined" 'scales=[1],[1,2],[1,2,3]' seed=0,1,2 level="$level" \
  runs_dir="$out/sweep"
