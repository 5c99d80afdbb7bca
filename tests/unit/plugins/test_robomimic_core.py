"""``S2Core`` in robomimic's own configurations, networks and algorithms."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import robomimic.utils.obs_utils as obs_utils
import torch
from robomimic.algo import algo_factory
from robomimic.config import config_factory
from robomimic.models.obs_nets import obs_encoder_factory
from support.robomimic_configs import TINY_CORE

from s2robot import FrameEncoder
from s2robot.backbones import Backbone
from s2robot.errors import MismatchError
from s2robot.plugins.robomimic import S2Core
from s2robot.plugins.robomimic.core import SmallFrameWarning

pytestmark = pytest.mark.slow

SIZE = 144
CAMERAS = ("front", "wrist")
KWARGS = TINY_CORE


def frames_of(count: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def processed(frames: np.ndarray) -> torch.Tensor:
    """Frames as robomimic hands them to its networks."""
    return torch.from_numpy(obs_utils.process_frame(frames, channel_dim=3, scale=255.0))


def config_of(core_kwargs: dict[str, Any], rnn: bool = False) -> Any:
    """A configuration of robomimic's BC, as a JSON file would give it."""
    config = config_factory("bc")
    changes = {
        "observation": {
            "modalities": {"obs": {"low_dim": ["proprio"], "rgb": list(CAMERAS)}},
            "encoder": {"rgb": {"core_class": "S2Core", "core_kwargs": core_kwargs}},
        },
        "algo": {"actor_layer_dims": [16]},
        "train": {"seq_length": 3 if rnn else 1},
    }
    if rnn:
        changes["algo"]["rnn"] = {"enabled": True, "horizon": 3, "hidden_dim": 8}
    with config.values_unlocked():
        config.update(json.loads(json.dumps(changes)))
    return config


def algorithm_of(core_kwargs: dict[str, Any], rnn: bool = False) -> Any:
    config = config_of(core_kwargs, rnn)
    obs_utils.initialize_obs_utils_with_config(config)
    shapes = {camera: [3, SIZE, SIZE] for camera in CAMERAS} | {"proprio": [4]}
    shapes = OrderedDict(sorted(shapes.items()))
    return algo_factory("bc", config, shapes, ac_dim=2, device=torch.device("cpu"))


def batch_of(steps: int, count: int = 4) -> dict[str, Any]:
    """A batch as robomimic's data loader gives it."""
    cameras = {
        camera: torch.from_numpy(frames_of(count * steps, seed)).unflatten(0, (count, steps))
        for seed, camera in enumerate(CAMERAS)
    }
    return {
        "obs": {**cameras, "proprio": torch.randn(count, steps, 4)},
        "actions": torch.zeros(count, steps, 2),
    }


def cores_of(algorithm: Any) -> list[S2Core]:
    return [module for module in algorithm.nets.modules() if isinstance(module, S2Core)]


def test_embeddings_are_those_of_the_8_bit_frames() -> None:
    frames = frames_of(3)
    core = S2Core((3, SIZE, SIZE), **KWARGS)
    encoder = FrameEncoder.from_name(
        "random/vitt16-128", (1,), "mean", device="cpu", runtime="eager"
    )
    assert torch.equal(core(processed(frames)), encoder(frames))
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    levels = np.tile(levels, (SIZE // 16, SIZE // 16, 1))[None]
    assert torch.equal(core(processed(levels)), encoder(levels))  # each of the 256 values


@pytest.mark.parametrize("rnn", [False, True])
def test_robomimic_trains_on_it(rnn: bool) -> None:
    torch.manual_seed(0)
    algorithm = algorithm_of(KWARGS, rnn)
    cores = cores_of(algorithm)
    assert len(cores) == len(CAMERAS)
    assert cores[0].encoder is cores[1].encoder
    weights = {id(w) for w in cores[0].encoder.parameters()}
    groups = algorithm.optimizers["policy"].param_groups
    assert not weights & {id(w) for group in groups for w in group["params"]}
    before = cores[0].encoder.backbone.weights_digest
    algorithm.set_train()
    assert not any(module.training for module in cores[0].encoder.modules())
    batch = batch_of(3 if rnn else 1)
    losses = []
    for step in range(3):
        given = algorithm.process_batch_for_training(batch)
        given = algorithm.postprocess_batch_for_training(given, obs_normalization_stats=None)
        found = algorithm.train_on_batch(given, epoch=step)
        losses.append(float(found["losses"]["action_loss"]))
    assert losses[-1] < losses[0]
    assert cores[0].encoder.backbone.weights_digest == before


def test_the_policy_sees_embeddings_without_robomimics_relu() -> None:
    config = config_of(KWARGS)
    obs_utils.initialize_obs_utils_with_config(config)
    kwargs = obs_utils.obs_encoder_kwargs_from_config(config.observation.encoder)
    shapes = OrderedDict({"front": [3, SIZE, SIZE], "proprio": [4]})
    network = obs_encoder_factory(shapes, encoder_kwargs=kwargs)
    frames, proprio = frames_of(2), torch.randn(2, 4)
    core: Any = network.obs_nets["front"]
    expected = torch.cat([core.encoder(frames), proprio], dim=1)
    assert float(expected.min()) < 0
    assert torch.equal(network({"front": processed(frames), "proprio": proprio}), expected)
    assert network.output_shape() == [192 + 4]


def test_other_cores_keep_their_relu() -> None:
    config = config_factory("bc")
    with config.values_unlocked():
        config.observation.modalities.obs.update({"low_dim": ["proprio"], "rgb": ["front"]})
    obs_utils.initialize_obs_utils_with_config(config)
    network = obs_encoder_factory(OrderedDict({"front": [3, 84, 84]}))
    assert float(network({"front": torch.rand(2, 3, 84, 84)}).detach().min()) >= 0
    assert isinstance(network.activation, torch.nn.ReLU)


def test_checkpoints_hold_the_digest_and_by_choice_the_weights(tmp_path: Path) -> None:
    algorithm = algorithm_of(KWARGS)
    saved = algorithm.serialize()
    size = sum(v.numel() for v in _tensors(saved))
    backbone = cores_of(algorithm)[0].encoder.parameters_count
    assert size < backbone
    path = tmp_path / "model.pth"
    torch.save(saved, path)
    algorithm_of(KWARGS).deserialize(torch.load(path, weights_only=True))
    whole = algorithm_of({**KWARGS, "save_backbone": True}).serialize()
    assert sum(v.numel() for v in _tensors(whole)) > backbone


def _tensors(content: Any) -> list[torch.Tensor]:
    if isinstance(content, dict):
        return [tensor for value in content.values() for tensor in _tensors(value)]
    return [content] if isinstance(content, torch.Tensor) else []


def test_a_checkpoint_of_another_encoder_is_named() -> None:
    saved = algorithm_of(KWARGS).serialize()
    with pytest.raises(MismatchError, match=r"input_mode: there native, here interpolate"):
        algorithm_of({**KWARGS, "input_mode": "interpolate"}).deserialize(saved)


def test_weights_of_a_checkpoint_are_taken_by_its_cores_alone() -> None:
    kwargs = {**KWARGS, "save_backbone": True}
    first, second = (S2Core((3, SIZE, SIZE), **kwargs) for _ in range(2))
    other = S2Core((3, SIZE, SIZE), **KWARGS)
    state = first.get_extra_state()
    weights = {name: 2 * tensor for name, tensor in state["weights"].items()}
    model = first.encoder.backbone.card.architecture.build()
    model.load_state_dict(weights)
    digest = Backbone(first.encoder.backbone.card, model).weights_digest
    spec = {**json.loads(state["spec"]), "weights_digest": digest}
    changed = {"spec": json.dumps(spec), "weights": weights}
    for core in (first, second):
        core.set_extra_state(changed)
        assert core.encoder.spec.weights_digest == digest
    assert first.encoder is second.encoder
    assert other.encoder.spec.weights_digest != digest
    with pytest.raises(MismatchError, match="weights_digest"):
        other.set_extra_state({"spec": json.dumps(spec)})


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "typo": ({"scale": [1, 2]}, r"has 'scale'.*Did you mean scales\?"),
    "of another core": ({"pool_class": "SpatialSoftmax"}, "has 'pool_class', which robomimic"),
    "unknown card": ({"backbone": "r3m-resnet19"}, "r3m-resnet1"),
    "out of range": ({"scales": [0]}, "different positive numbers"),
    "unknown readout": ({"readout": "flat"}, "readout"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_core_kwargs(case: str) -> None:
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        algorithm_of({**KWARGS, **changed})


def test_a_camera_of_another_shape() -> None:
    core = S2Core((3, SIZE, SIZE), **KWARGS)
    with pytest.raises(ValueError, match=r"made for images \(3, 144, 144\).*\(3, 96, 96\)"):
        core(processed(frames_of(1, size=96)))
    with pytest.raises(ValueError, match="modality rgb alone"):
        S2Core((1, SIZE, SIZE), **KWARGS)


def test_small_frames_are_told() -> None:
    with pytest.warns(SmallFrameWarning, match="84 x 84 px are smaller than the 256 px"):
        S2Core((3, 84, 84), **{**KWARGS, "scales": [1, 2]})
