"""Files and names that examples of pages expect: small recordings, encoders, runs and policies."""

from __future__ import annotations

import dataclasses
import json
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from gymnasium.spaces import Box
from PIL import Image

from s2robot import FrameEncoder
from s2robot.backbones import CARDS, Backbone, get_card, load_backbone
from s2robot.policies.checkpoint import save_policy
from s2robot.policies.config import PolicyConfig
from s2robot.policies.policy import Policy
from support.media_files import ramp, write_video
from support.page_blocks import PAGES, page_blocks
from support.paths import ROOT
from support.recorded_data import write_folder, write_robomimic
from support.ros_doubles import header, numbered
from support.ros_policies import make_policy
from support.small_encoders import encoder_of, scenes
from support.small_published import small_card
from support.synthetic_runs import outcomes, write_run
from support.tiny_models import write_tiny_model

SHIPPED = "s2r-vitt16-128"
CARD_FOLDERS = ("runs/vitt", "runs/vits", "runs/vitb", "runs/ladder/vitt", "runs/ladder/vitt-plain")
Names = dict[str, Any]


def fill(folder: Path) -> None:
    """Write everything that commands and programs of pages read, as small as may be."""
    for name in ("photos", "episodes", "runs/cells/NAME", "main", "branch"):
        (folder / name).mkdir(parents=True)
    video = write_video(folder / "run1.mp4", ramp(6))
    shutil.copy(video, folder / "episodes/1.mp4")
    for number in range(2):
        Image.fromarray(scenes(1)[0]).save(folder / f"photos/{number}.png")
    for name in CARD_FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_tiny_model(folder / name, "encoder")
    write_robomimic(folder / "lift.hdf5")
    write_folder(folder / "recordings")
    shutil.copy(ROOT / "examples/own_task.py", folder)
    write_policy(folder / "policy.safetensors")
    shutil.copy(folder / "policy.safetensors", folder / "runs/cells/NAME")
    for seed in range(3):
        for root, scales in ((".", (1,)), (".", (1, 2)), ("main", (1, 2)), ("branch", (1, 2))):
            succeeded = outcomes(0.3 * len(scales), seed)
            write_run(folder / root / "runs/cells", succeeded, SHIPPED, scales, seed=seed)
    write_bags(folder)


def write_policy(path: Path) -> None:
    """Write an untrained policy on the shipped encoder at scales (1,2), for the camera front."""
    encoder = FrameEncoder.from_name(SHIPPED, scales=(1, 2))
    _, content = make_policy()
    with torch.random.fork_rng():
        policy = Policy(PolicyConfig("mlp", hidden=(8,)), encoder.layout.output_shape, 4, 4).eval()
    described = dataclasses.replace(
        content,
        policy_config=policy.config,
        encoder=encoder.spec.to_dict(),
        embedding_shape=encoder.layout.output_shape,
        frames={"camera": {"name": "front", "size": 384}},
    )
    save_policy(path, policy, described)


def write_bags(folder: Path) -> None:
    """Write recordings of ROS 1 and ROS 2, of some 25 s."""
    pytest.importorskip("rosbags")
    from support import bag_episodes, bags

    def content(maker: bags.BagMaker) -> None:
        for i in (0, 110, 140, 250):
            for camera in (bags.CAMERA, "/wrist/image_raw"):
                maker.raw(camera, i, bags.FRAMES[i % len(bags.FRAMES)])
            for topic in ("/joint_states", "/tf"):
                maker.word(i, topic)

    bags.make_bag(folder / "run.bag", content)
    recorded = bags.make_bag(folder / "rosbag2_folder", content)
    shutil.copy(bags.file_of(recorded), folder / "run.mcap")
    bag_episodes.write_bags(folder / "bags", "bag", count=3)


def small_backbone(name: str, weights: Any = None, digest: str | None = None) -> Backbone:
    """Stand for ``load_backbone``: published encoders get random weights, transformers few."""
    card = get_card(name, weights)
    if card.origin not in ("published", "timm", "hub"):
        return load_backbone(name, weights, digest)
    return Backbone(card, card.architecture.build())


def make_cards_small(patch: pytest.MonkeyPatch) -> None:
    """Make the transformers among the published encoders small."""
    for name, card in CARDS.items():
        if card.origin == "published" and "embed_dim" in card.architecture.to_dict():
            patch.setitem(CARDS, name, small_card(card))


# ------------------------------------------------------------------------ names in Python blocks
def _frames() -> Names:
    frames = scenes(4)
    return {"frames": frames, "frame": frames[0]}


def _three_scales() -> Names:
    return {"encoder": encoder_of(scales=(1, 2, 3)), **_frames()}


def _own_encoder() -> Names:
    encoder = encoder_of()
    encoder.calibrate = lambda frames: FrameEncoder.calibrate(encoder, scenes(64))
    return {"encoder": encoder, **_frames()}


def _camera_frames() -> Names:
    frame = np.zeros((480, 640, 3), np.uint8)
    return {"encoder": encoder_of(), "frame": frame}


def _any_model() -> Names:
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval().requires_grad_(False)
    return {"model": model.forward_features, "images": torch.rand(1, 3, 224, 224)}


def _two_cameras() -> Names:
    return {"wrist": scenes(1), "front": scenes(1), "FrameEncoder": FrameEncoder}


def _trajectories() -> Names:
    generator = torch.Generator().manual_seed(0)
    made = {"embeddings": 384, "proprio": 9, "actions": 4}
    return {
        name: torch.rand(380, width, generator=generator) * 2 - 1 for name, width in made.items()
    }


class _Camera:
    """An environment with a camera, and what a policy for pick-cube reads."""

    action_space = Box(-1.0, 1.0, (4,), np.float32)

    def reset(self) -> tuple[Names, Names]:
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[Names, float, bool, bool, Names]:
        assert self.action_space.contains(action)
        return self._observation(), 0.0, False, False, {}

    def _observation(self) -> Names:
        frame = np.zeros((384, 384, 3), np.uint8)
        return {"image": frame, "ee_pos": np.zeros(3), "gripper_width": np.zeros(1)}


def _environment() -> Names:
    return {"env": _Camera(), "horizon": 3}


def _own_card() -> Names:
    """The page's model card, and the checkpoint that it describes, smaller."""
    (card,) = [b for p in PAGES for b in page_blocks(p) if b.page.endswith("own-weights.md")
               and b.language == "json"]  # fmt: skip
    content = json.loads(card.text)
    large = content["architecture"]["timm"]
    assert large == "vit_base_patch16_224"
    small = "vit_tiny_patch16_224"
    state = timm.create_model(small, num_classes=0).state_dict()
    layout = content["layout"]
    tensors = {layout["prefix"] + key: value for key, value in state.items()}
    tensors |= {f"{dropped}weight": torch.zeros(1) for dropped in layout["dropped"]}
    torch.save({layout["key"]: tensors}, content["weights"])
    Path("mine.json").write_text(card.text.replace(large, small))
    return {}


MODULES = "modules"
"""Key of modules, by name, that can be imported while a block runs."""


def _module(name: str, **members: Any) -> Names:
    """Return a package that is not installed here."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    return {name: module}


def _r3m() -> Names:
    def load_r3m(name: str) -> torch.nn.Module:
        card = get_card(f"r3m-{name}")
        kind = type("R3M", (torch.nn.Module,), {"__module__": "r3m.models.models_r3m"})
        module: Any = kind()
        module.convnet = card.architecture.build()
        module.size = int(name.removeprefix("resnet"))
        return torch.nn.DataParallel(module)

    return {MODULES: _module("r3m", load_r3m=load_r3m)}


def _rospy() -> Names:
    """rospy, with a camera that sends one picture as soon as somebody listens."""
    logged: list[Any] = []
    waiting: list[Callable[[], None]] = []

    def subscriber(topic: str, kind: Any, callback: Any, **rest: int) -> None:
        assert (topic, kind, set(rest)) == (
            "/camera/image_raw",
            "Image",
            {"queue_size", "buff_size"},
        )
        waiting.append(lambda: callback(numbered(1, 10**9, (480, 640))))

    def spin() -> None:
        waiting[0]()
        assert len(logged) == 1

    def loginfo(*words: Any) -> None:
        logged.append(words)

    rospy = _module("rospy", init_node=str, Subscriber=subscriber, spin=spin, loginfo=loginfo)
    messages = _module("sensor_msgs.msg", Image="Image")
    return {MODULES: {**rospy, **_module("sensor_msgs"), **messages}}


def _core() -> Names:
    stamp = 10**18
    return {
        "publish": lambda result: None,
        "now_ns": lambda: stamp,
        "log": lambda level, text: None,
        "message": numbered(1, stamp, (48, 64)),
    }


def _servo() -> Names:
    sent: list[Any] = []

    def message(**fields: Any) -> SimpleNamespace:
        linear = SimpleNamespace()
        return SimpleNamespace(twist=SimpleNamespace(linear=linear), **fields)

    sink = SimpleNamespace(publish=sent.append)
    return {"TwistStamped": message, "Header": SimpleNamespace, "now": lambda: header(1).stamp,
            "servo": sink, "gripper": sink, "sent": sent}  # fmt: skip


PREPARED: dict[tuple[str, int], Callable[[], Names]] = {
    ("docs/guides/embed-frames.md", 1): _any_model,
    ("docs/guides/frame-shapes.md", 0): _two_cameras,
    ("docs/guides/latency.md", 0): _camera_frames,
    ("docs/guides/own-data.md", 1): _trajectories,
    ("docs/guides/own-environment.md", 0): _environment,
    ("docs/guides/own-weights.md", 0): _own_card,
    ("docs/guides/published-encoders.md", 0): _r3m,
    ("docs/guides/runtimes.md", 0): _own_encoder,
    ("docs/guides/stream-camera.md", 0): _three_scales,
    ("docs/guides/tile-budget.md", 0): _three_scales,
    ("docs/integrations/ros-policies.md", 0): _servo,
    ("docs/integrations/ros.md", 0): _rospy,
    ("docs/integrations/ros.md", 1): _core,
}
"""Makers of the names that the n-th Python block of a page takes for granted."""


def _take_an_action(names: Names) -> None:
    names["take"](SimpleNamespace(data=[1.0, 0.0, 0.0, -1.0], period=0.2))
    twist, gripper = names["sent"]
    assert twist.twist.linear.x == pytest.approx(0.2)
    assert gripper is False


FOLLOWED: dict[tuple[str, int], Callable[[Names], None]] = {
    ("docs/integrations/ros-policies.md", 0): _take_an_action,
    ("docs/integrations/ros.md", 1): lambda names: names["core"].stop(),
}
"""What is done with a page's names after its n-th Python block."""
