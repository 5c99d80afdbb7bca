"""Quality of service of cameras on rclpy and FastDDS: what is asked for, lost and told.

These run where rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from rclpy.qos import ReliabilityPolicy  # noqa: E402
from support.ros2_managed import Camera, Managed, image, same  # noqa: E402
from support.ros2_rig import IMAGE, eventually  # noqa: E402

RNG = np.random.default_rng(0)


def frame() -> np.ndarray:
    """Return a new frame (H, W, 3) uint8."""
    return RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_a_best_effort_camera_does_not_match_reliable(node: Managed, offline) -> None:
    """Diagnostics say why nothing arrives and what to change; frames of a reliable one arrive."""
    node.start(image_topics=[IMAGE], reliability="reliable", lazy=False)
    eventually("diagnostics say so", lambda: "has no publisher" in node.status().get("message", ""))
    camera = Camera(node, [IMAGE], reliable=False)
    camera.publish(image(frame()))
    text = (
        f"no frame has arrived yet: {IMAGE} is offered best effort by tests, but the node asks "
        "for reliable: set its parameter reliability to best_effort, or let the publisher offer "
        "reliable"
    )
    eventually("diagnostics say why", lambda: node.status().get("message") == text)
    assert node.status()["level"] == "1"
    eventually("the mismatch is logged", lambda: "incompatible QoS" in node.process.text)
    assert not camera.stamps()
    camera.close()
    camera = Camera(node, [IMAGE])
    shown = frame()
    same(camera.shown(image(shown)), offline(shown))
    camera.close()


def requested(node: Managed) -> set[Any]:
    """Return the reliability that the node requests of the camera; two while it changes over."""
    found = node.rig.node.get_subscriptions_info_by_topic(IMAGE)
    return {each.qos_profile.reliability for each in found}


def test_the_reliability_follows_the_cameras(node: Managed, offline) -> None:
    """Reliable where all cameras of a topic offer it; nothing is lost by a change of cameras."""
    node.start(image_topics=[IMAGE], lazy=False)
    eventually("it listens", lambda: requested(node) == {ReliabilityPolicy.BEST_EFFORT})
    for reliable, expected in (
        (True, ReliabilityPolicy.RELIABLE),
        (False, ReliabilityPolicy.BEST_EFFORT),
        (True, ReliabilityPolicy.RELIABLE),
    ):
        camera = Camera(node, [IMAGE], reliable=reliable)
        eventually("it asks for that", lambda kind=expected: requested(node) == {kind})
        shown = frame()
        same(camera.shown(image(shown)), offline(shown))
        camera.close()
    first, second = Camera(node, [IMAGE]), Camera(node, [IMAGE], reliable=False)
    eventually("both are heard", lambda: requested(node) == {ReliabilityPolicy.BEST_EFFORT})
    for camera in (first, second):
        shown = frame()
        same(camera.shown(image(shown)), offline(shown))
    first.close()
    second.close()


def test_frames_that_fast_dds_loses_are_counted_and_the_remedy_helps(
    node: Managed, offline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.8 MB in 512 KiB of shared memory, offered best effort; then in the product's settings."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 720, 1280, 3), np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    node.start(image_topics=[IMAGE], lazy=False)
    camera = node.rig.camera(str(tmp_path / "frames.npy"))
    told = node.counted("undelivered", 10)
    assert int(told["received"]) < int(told["undelivered"])
    advice = f"frames of {IMAGE} are lost on their way here: with Fast DDS, frames above 512 KiB"
    eventually("it says so", lambda: advice in node.process.text)
    assert node.process.text.count(advice) == 1
    camera.kill(signal.SIGINT)
    name, _, path = re.findall(r"start it with ((\w+)=([^\s,]+))", node.process.text)[0]
    monkeypatch.setenv(*name.split("="))
    assert Path(path).is_file()
    before = int(node.status()["received"])
    camera = node.rig.camera(str(tmp_path / "frames.npy"))
    node.counted("received", before + 30)
    camera.kill(signal.SIGINT)
