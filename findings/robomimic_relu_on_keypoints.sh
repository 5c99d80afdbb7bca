#!/usr/bin/env bash
# robomimic 0.3.0: half of the keypoint coordinates of an image encoder are set to zero.
#
# Expected: a VisualCore that ends with SpatialSoftmax (feature_dimension None) returns keypoints (x, y)
#   in [-1, 1], and the policy around it reads these coordinates.
# Seen: the ObservationEncoder between them applies nn.ReLU to the output of every core, and no key of a
#   training configuration reaches that choice. Each coordinate left of or above the center becomes 0, so
#   that all keypoints of the left half share one x. Observations without a core (low_dim) pass unchanged.
# Source: robomimic/models/obs_nets.py, ObservationEncoder.forward and ObservationGroupEncoder.
# Here: policies get stored embeddings as low_dim observations; checked by
#   tests/unit/policies/test_policy.py::test_negative_features_reach_the_network
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env torch==2.14.1 torchvision==0.29.1 numpy==2.2.6 six==1.17.0 tqdm==4.70.1 h5py==3.16.0 \
  termcolor==3.3.0 tensorboardX==2.6.5 imageio==2.38.1 psutil==7.2.2 matplotlib==3.10.8
install env --no-deps robomimic==0.3.0  # its dependency egl_probe is compiled and not needed here
env/bin/python -W ignore - <<'CODE'
import contextlib
import io
from collections import OrderedDict

import torch

with contextlib.redirect_stdout(io.StringIO()):
    import robomimic
    import robomimic.utils.obs_utils as obs_utils
    from robomimic.models.policy_nets import ActorNetwork

    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"rgb": ["camera"]}})
torch.manual_seed(0)
core = {
    "backbone_class": "ResNet18Conv",
    "backbone_kwargs": {"pretrained": False},
    "pool_class": "SpatialSoftmax",
    "pool_kwargs": {"num_kp": 32},
    "feature_dimension": None,
}
rgb = {"core_class": "VisualCore", "core_kwargs": core}
rgb |= {"obs_randomizer_class": None, "obs_randomizer_kwargs": {}}
with contextlib.redirect_stdout(io.StringIO()):
    shapes = OrderedDict(camera=(3, 96, 96))
    policy = ActorNetwork(shapes, 7, (64,), encoder_kwargs={"rgb": rgb}).eval()
encoder = policy.nets["encoder"].nets["obs"]
image = torch.rand(1, 3, 96, 96)
with torch.no_grad():
    keypoints = encoder.obs_nets["camera"](image)
    handed_on = encoder({"camera": image})
negative = (keypoints < 0).float().mean().item()
zero = (handed_on == 0).float().mean().item()
print(f"robomimic {robomimic.__version__}, torch {torch.__version__}")
print(f"keypoints of the core: {keypoints.min():.2f} to {keypoints.max():.2f}, {negative:.0%} negative")
print(f"output of the encoder: {handed_on.min():.2f} to {handed_on.max():.2f}, {zero:.0%} zero")
assert negative > 0.2 and zero == negative and torch.equal(handed_on, keypoints.relu())
CODE
