#!/usr/bin/env bash
# MuJoCo 3.9.0 and 3.15.0: the same MJCF file gives another robot and another rest position, without a warning.
#
# Expected: a minor release of a simulator keeps the meaning of a model file, up to rounding.
# Seen: (1) `dampratio` of a position actuator is turned into a damping when the model is compiled. Since 3.15.0
#   the inertia in it is that of the operational space; before, the sum of each joint's own. A two-link arm
#   with dampratio=1 has half the damping it had, at both joints. (2) Since 3.9.0 `margin` inflates a geom and
#   `gap` adds to it; before, forces began at margin - gap. A box with margin = gap = 1 cm, which lay on the
#   floor, hovers 1 cm above it. Also, 3.12.0 maps 2D textures on primitives in another way.
# Source: MuJoCo's changelog, 3.9.0 (commit a4e49f2d), 3.12.0 (cc7fb98c) and 3.15.0 (b3dd9e617).
# Here: results are pooled only within a generation of MuJoCo (s2robot/utils/provenance.py); checked by
#   tests/unit/utils/test_provenance.py
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
cat >models.py <<'CODE'
import json
import sys

import mujoco

arm = mujoco.MjModel.from_xml_string("""
<mujoco>
  <worldbody>
    <body>
      <joint name="shoulder" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 .4 0 0" size=".04"/>
      <body pos=".4 0 0">
        <joint name="elbow" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 .4 0 0" size=".04"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position joint="shoulder" kp="1000" dampratio="1"/>
    <position joint="elbow" kp="1000" dampratio="1"/>
  </actuator>
</mujoco>
""")
box = mujoco.MjModel.from_xml_string("""
<mujoco>
  <worldbody>
    <geom type="plane" size="1 1 .1"/>
    <body pos="0 0 .2">
      <freejoint/>
      <geom type="box" size=".1 .1 .1" margin=".01" gap=".01"/>
    </body>
  </worldbody>
</mujoco>
""")
data = mujoco.MjData(box)
for _ in range(3000):
    mujoco.mj_step(box, data)
shoulder, elbow = (-arm.actuator_biasprm[:, 2]).round(1)
height_mm = round(1000 * (data.qpos[2] - 0.1), 1)
print(f"MuJoCo {mujoco.__version__}: damping {shoulder}, {elbow} N m s/rad; the box rests at {height_mm} mm")
json.dump([shoulder, elbow, height_mm], open(sys.argv[1], "w"))
CODE
for version in 3.8.1 3.9.0 3.14.0 3.15.0; do
  install "mujoco$version" "mujoco==$version" numpy==2.2.6
  "mujoco$version/bin/python" models.py "$version.json"
done
mujoco3.15.0/bin/python - <<'CODE'
import json

seen = {version: json.load(open(f"{version}.json")) for version in ("3.8.1", "3.9.0", "3.14.0", "3.15.0")}
assert seen["3.8.1"] == [63.0, 22.9, -0.1], seen
assert seen["3.9.0"] == seen["3.14.0"] == [63.0, 22.9, 9.9], seen
assert seen["3.15.0"] == [31.2, 11.3, 9.9], seen
CODE
