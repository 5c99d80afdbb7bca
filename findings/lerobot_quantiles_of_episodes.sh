#!/usr/bin/env bash
# LeRobot 0.6.1: the quantiles of a data set are means of its episodes' quantiles, and scale a goal to 1e8.
#
# Expected: q01 and q99 in meta/stats.json are, up to the histogram's bins, quantiles of the data, and
#   QUANTILES, which some policies use, brings nearly all numbers to about -1 to 1.
# Seen: (1) a measurement that is constant within an episode and differs between episodes, such as a goal, has
#   q01 = q99 = its mean, though it goes from 0 to 0.9. QUANTILES and QUANTILE10 divide by 1e-8 then: the
#   policy gets numbers up to 9e7. (2) An action that is 0 but for one step of 250, such as a button, has
#   q01 = q99 = 0 and becomes 2e8 in that step, in the target of the loss. MIN_MAX gives -1 to 1 for both.
# Source: lerobot/datasets/compute_stats.py, aggregate_feature_stats, which save_episode() uses;
#   lerobot/processor/normalize_processor.py, _apply_transform (denominator 0 becomes eps).
# Here: policy s2robot is normalized by mean and range; where QUANTILES is asked for, a range that is
#   missing is that from minimum to maximum; checked by
#   tests/lerobot_plugins/test_policy.py::test_quantiles_without_a_range_give_way_to_minimum_and_maximum
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
PYTHON=${PYTHON312:-python3.12}
install env 'lerobot[dataset]==0.6.1' torch==2.11.0 numpy==2.2.6
HF_HUB_OFFLINE=1 env/bin/python -W ignore - 2>messages <<'CODE'
import importlib.metadata

import numpy as np
import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.processor import NormalizerProcessorStep

EPISODES, STEPS = 10, 250
wanted = {
    key: {"dtype": "float32", "shape": (2,), "names": None} for key in ("observation.state", "action")
}
data = LeRobotDataset.create("any/goals", 10, features=wanted, root="goals", use_videos=False)
rng = np.random.default_rng(0)
for episode in range(EPISODES):
    for step in range(STEPS):
        state = np.array([rng.uniform(-1, 1), episode / 10], np.float32)
        action = np.array([rng.uniform(-1, 1), step == 200], np.float32)
        data.add_frame({"observation.state": state, "action": action, "task": "reach"})
    data.save_episode()
data.finalize()
data = LeRobotDataset("any/goals", root="goals")
stats = data.meta.stats
print(f"lerobot {importlib.metadata.version('lerobot')}")
kinds = {"observation.state": FeatureType.STATE, "action": FeatureType.ACTION}
features = {key: PolicyFeature(kind, (2,)) for key, kind in kinds.items()}
largest = {}
for key, kind in kinds.items():
    values = torch.tensor(np.stack(data.hf_dataset.data.column(key).to_numpy()))
    true = np.quantile(values.numpy()[:, 1], (0.01, 0.99))
    told = {name: round(float(stats[key][name][1]), 6) for name in ("min", "max", "q01", "q99")}
    print(f"{key}[1]: LeRobot's statistics {told}; quantiles of the data {true.round(3).tolist()}")
    for mode in (NormalizationMode.MIN_MAX, NormalizationMode.QUANTILES, NormalizationMode.QUANTILE10):
        step = NormalizerProcessorStep(features=features, norm_map={kind: mode}, stats=stats)
        seen = step._apply_transform(values, key, kind).abs().amax(0)
        largest[key, mode.value] = seen.tolist()
        print(f"  {mode.value}: largest {seen[0]:.3f} and {seen[1]:.3g}")
state, action = (stats[key] for key in kinds)
assert abs(state["q01"][1] - 0.45) < 1e-3 and abs(state["q99"][1] - 0.45) < 1e-3
assert (state["min"][1], round(float(state["max"][1]), 6)) == (0.0, 0.9)
for (key, mode), (varying, odd) in largest.items():
    assert varying < 1.5, (key, mode, varying)
    assert odd <= 1 if mode == "MIN_MAX" else odd > 1e7, (key, mode, odd)
CODE
