#!/usr/bin/env bash
# Controls of the verdicts on the real pipeline: the same encoder as two variants (negative), and
# pairs whose answer is known (positive). Two lanes for two cores; finished runs are reused, so run
# it again after a kill. Then: python benchmarks/controls.py FOLDER
#
#     bash benchmarks/controls.sh runs/controls
set -euo pipefail
out=${1:-runs/controls}
n=${N:-64}
shared=(level=precise "n=$n" rollout.videos=0 "data_dir=$out/data")
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=PASSIVE

sweep() { # folder of runs, first seed, last seed, further settings
  local name=$1 seeds
  seeds=$(seq -s, "$2" "$3")
  shift 3
  s2robot sweep "${shared[@]}" "runs_dir=$out/$name" "seed=$seeds" "$@"
}

mkdir -p "$out"
python - "$out" <<'PYTHON'
import json, shutil, sys
from pathlib import Path

import s2robot.backbones
from s2robot.utils.io import read_json

weights = Path(s2robot.backbones.__file__).parent / "weights"
out = Path(sys.argv[1])
card = read_json(weights / "s2r-vitt16-128.json") | {"name": "another-name"}
(out / "another-name.json").write_text(json.dumps(card))
for file in weights.glob("s2r-vitt16-128*.safetensors"):
    shutil.copy(file, out / file.name)
PYTHON

# What the lanes share is made once.
sweep base 0 0 'scales=[1]' budget=none

lane_a() {
  sweep base 0 15 'scales=[1]' budget=none
  sweep keypoints 16 21 'scales=[1]' budget=none policy.keypoints=16
  sweep untrained 0 3 'scales=[1]' budget=none encoder=random/vitt16-128
  sweep search 0 5 'scales=[1]' budget=standard
  sweep name 16 19 'scales=[1]' budget=none "encoder=file:$out/another-name.json"
  sweep runtime 24 27 'scales=[1]' budget=none runtime=openvino
}

lane_b() {
  sweep limits 0 2 budget=none encoder=privileged_state,blind
  sweep base 0 7 'scales=[1,2]' budget=none
  sweep hidden 16 21 'scales=[1]' budget=none 'policy.hidden=[128,128]'
  sweep search 0 5 'scales=[1,2]' budget=standard
}

lane_a &
first=$!
lane_b &
wait $first
wait $!
