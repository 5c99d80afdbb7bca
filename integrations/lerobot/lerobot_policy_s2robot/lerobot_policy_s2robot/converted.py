"""A policy of `s2robot train` in LeRobot: the same code acts as in `s2robot eval`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION
from torch import Tensor

from lerobot_policy_s2robot.configuration_s2robot import S2robotConfig
from lerobot_policy_s2robot.embeddings import check_unchanged
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import MismatchError
from s2robot.evaluation.agents.loaded_policy import LoadedPolicy, encoder_of
from s2robot.evaluation.agents.policy_input import camera_sizes
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.checkpoint import PolicyHeader, header_from_dict, load_policy
from s2robot.policies.policy import Policy

_OBSERVATION = "observation."


def camera_key(name: str) -> str:
    """Return the key of a camera in LeRobot's batches."""
    return name if name.startswith(_OBSERVATION) else f"{_OBSERVATION}images.{name}"


def state_key(name: str) -> str:
    """Return the key of a low-dimensional observation in LeRobot's batches."""
    return name if name.startswith(_OBSERVATION) else f"{_OBSERVATION}{name}"


class ConvertedPolicy:
    """A policy of a policy file, or of a folder that was made of one.

    Args:
        config: names the file, or holds the header of the folder; its settings become those of the
            policy.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: the file or the header is damaged.
        MismatchError: the policy reads no camera.
    """

    def __init__(self, config: S2robotConfig) -> None:
        if config.checkpoint:
            self.policy, header = load_policy(config.checkpoint)
            _take(config, header, self.policy)
        else:
            header = header_from_dict(config.policy_header, "config.json: policy_header")
            if "scales" in header.encoder:
                check_unchanged(config, EncoderSpec.from_dict(header.encoder))
            self.policy = _empty(header, config.policy_sizes)
        encoder = encoder_of(
            header, config.weights, config.device or "auto", "auto", config.runtime
        )
        if encoder is None:
            raise MismatchError(
                f"the policy is the baseline {header.encoder['backbone']!r}, which reads no "
                "camera; roll it out with `s2robot eval`"
            )
        self._loaded = LoadedPolicy(self.policy, header, encoder)

    def reset(self) -> None:
        """Begin a batch of episodes."""
        self._loaded.reset()

    def actions(self, batch: Mapping[str, Any]) -> Tensor:
        """Return actions ``(B, A)`` float32 for images in 0-1 and measurements by name.

        Raises:
            KeyError: a camera or an observation is missing.
        """
        keys = {name: camera_key(name) for name in self._loaded.cameras}
        lows = {name: state_key(name) for name in self._loaded.proprio_keys}
        missing = [key for key in [*keys.values(), *lows.values()] if key not in batch]
        if missing:
            there = sorted(key for key in batch if key.startswith(_OBSERVATION))
            raise KeyError(
                f"the batch lacks {', '.join(missing)}; it has {', '.join(there)}. The environment "
                "s2robot_pick_cube gives them; its env.cameras names cameras"
            )
        frames = {name: _pixels(batch[key]) for name, key in keys.items()}
        proprio = {name: batch[key].cpu().numpy() for name, key in lows.items()}
        return torch.from_numpy(np.asarray(self._loaded(frames, proprio), np.float32))


def _pixels(images: Tensor) -> np.ndarray:
    """Return frames ``(B, H, W, 3)`` uint8 of images ``(B, 3, H, W)``, pixels divided by 255."""
    return (images * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def _take(config: S2robotConfig, header: PolicyHeader, policy: Policy) -> None:
    """Write into settings what a folder needs to hold the policy without its file."""
    config.policy_header, config.checkpoint = header.to_dict(), None
    config.policy_sizes = {
        "proprio": policy.proprio_dim,
        "action_units": int(policy.action_units is not None),
    }
    spec = header.encoder
    config.head, config.encoder_spec = header.policy_config, dict(spec)
    config.backbone = str(spec["backbone"])
    config.scales = tuple(spec.get("scales", config.scales))
    config.readout = str(spec.get("readout", config.readout))
    config.input_features = {
        camera_key(name): PolicyFeature(FeatureType.VISUAL, (3, *size))
        for name, size in camera_sizes(header.frames).items()
        if size is not None
    }
    action = PolicyFeature(FeatureType.ACTION, (header.action_space["dim"],))
    config.output_features = {ACTION: action}


def _empty(header: PolicyHeader, sizes: Mapping[str, int]) -> Policy:
    """Return a policy of the right shape, whose weights are loaded after."""
    shape, dim = header.embedding_shape, header.action_space["dim"]
    policy = Policy(header.policy_config, tuple(shape), sizes["proprio"], dim)
    if sizes["action_units"]:
        policy.action_units = ActionUnits(dim)
    return policy.eval()
