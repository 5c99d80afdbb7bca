"""The core of the ROS nodes as a whole: messages to embeddings and actions."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.ros_doubles import (
    numbered,
    wait_for,
)
from support.ros_policies import HOME, joint_state, write_policy
from support.small_encoders import picture
from support.tiny_models import write_tiny_model

from s2robot.data.ros_messages.stamps import NS
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import CorruptFileError
from s2robot.plugins.ros.core import (
    EmbeddingResult,
    NodeConfig,
    NodeCore,
    build_encoder,
)
from s2robot.policies.checkpoint import load_policy, read_header, save_policy


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture
def policy_file(tiny: str, tmp_path: Path) -> Path:
    return Path(write_policy(tiny, tmp_path))


def test_from_image_messages_to_actions(policy_file: Path) -> None:
    results: list[EmbeddingResult] = []
    config = NodeConfig(policy=str(policy_file), device="cpu", stale_s=5.0)
    core = NodeCore(config, results.append, time.time_ns, lambda *_: None)
    assert core.control_hz == 5.0
    assert core.model == EncoderSpec.from_dict(read_header(policy_file).encoder).tag
    core.start()
    frame = picture(1, 40, 48)[0]
    message = numbered(1, time.time_ns(), (40, 48), data=frame.tobytes())
    assert core.receive_image("image", message)
    wait_for(lambda: len(results) == 1)
    assert core.tick() is None  # no joint states yet
    core.receive_joints(joint_state(time.time_ns(), HOME))
    action = core.tick()
    assert action is not None
    assert action.header is message.header
    expected = build_encoder(config)(frame)[0].numpy()
    np.testing.assert_allclose(results[0].embedding, expected, rtol=1e-5, atol=1e-6)
    assert [status.name for status in core.diagnostics()] == ["encoder image", "policy"]
    core.disable()
    assert not core.receive_image("image", message)
    core.enable()
    assert core.tick() is None  # what was seen before is forgotten
    core.stop()
    with pytest.raises(ValueError, match="unknown topic 'imgae'"):
        core.receive_image("imgae", message)


@pytest.mark.parametrize(("size", "told"), [((48, 48), 0), ((40, 48), 1)])
def test_frames_of_another_shape_than_the_policys(
    policy_file: Path, size: tuple[int, int], told: int
) -> None:
    policy, head = load_policy(policy_file)
    head.frames["camera"] = {"name": "front", "size": 96}
    save_policy(policy_file, policy, head)
    log: list[str] = []
    results: list[EmbeddingResult] = []
    config = NodeConfig(policy=str(policy_file), device="cpu", stale_s=5.0)
    core = NodeCore(config, results.append, time.time_ns, lambda _, text: log.append(text))
    core.start()
    for i in range(3):
        frame = picture(1, *size)[0]
        message = numbered(i, time.time_ns(), size, data=frame.tobytes())
        assert core.receive_image("image", message)
        wait_for(lambda: len(results) == i + 1)  # noqa: B023
    core.stop()
    warnings = [text for text in log if "trained on 96 x 96" in text]
    assert len(warnings) == told
    assert all("frames are 40 x 48" in text for text in warnings)


def test_a_damaged_policy_file(policy_file: Path) -> None:
    policy_file.write_bytes(policy_file.read_bytes()[:-9])
    with pytest.raises(CorruptFileError):
        NodeCore(NodeConfig(policy=str(policy_file)), print, lambda: 0, lambda *_: None)


def test_several_cameras_together_and_apart(tiny: str) -> None:
    stamp = 50 * NS
    frames = {name: picture(1, 32, 32 + i, seed=i)[0] for i, name in enumerate(("left", "right"))}
    for synchronize in (True, False):
        results: list[EmbeddingResult] = []
        config = NodeConfig(
            tiny,
            scales=(1,),
            readout="mean",
            image_topics=("left", "right"),
            synchronize=synchronize,
            device="cpu",
        )
        core = NodeCore(config, results.append, lambda: stamp, lambda *_: None)
        encoder = build_encoder(config)
        headers = {}
        for i, (name, frame) in enumerate(reversed(frames.items())):
            size = frame.shape[0], frame.shape[1]
            message = numbered(0, stamp + i * NS // 1000, size, data=frame.tobytes())
            headers[name] = message.header
            core.receive_image(name, message)
        while core.worker.process_next():
            pass
        expected = {name: encoder(frame)[0].numpy() for name, frame in frames.items()}
        if synchronize:
            (result,) = results
            assert result.header is headers["left"]
            assert result.headers == headers
            assert result.shape == (2, encoder.embedding_dim)
            found = dict(zip(frames, result.embedding.reshape(result.shape), strict=True))
        else:
            found = {result.channel: result.embedding for result in results}
            assert all(result.header is headers[result.channel] for result in results)
        for name in frames:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.process
@pytest.mark.slow
def test_the_core_imports_no_ros() -> None:
    code = """
import importlib, pkgutil, sys
banned = {"rospy", "rclpy", "cv2", "cv_bridge", "sensor_msgs", "std_msgs", "message_filters",
          "diagnostic_msgs", "builtin_interfaces", "genpy", "rosbags", "ament_index_python"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in banned:
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Refuse())
import s2robot.plugins.ros.core as core
for module in pkgutil.iter_modules(core.__path__):
    importlib.import_module(f"{core.__name__}.{module.name}")
assert not banned & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
