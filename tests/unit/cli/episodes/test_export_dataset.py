"""``s2robot export-dataset``: both formats, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from support.lerobot_data import need_libraries

from s2robot.cli.main import main
from s2robot.data.collection import CollectConfig, collect
from s2robot.data.datasets.opening import open_dataset

pytestmark = [pytest.mark.render]


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    out = tmp_path_factory.mktemp("demos") / "easy.hdf5"
    collect(CollectConfig(level="easy", episodes=2, out=out, valid_share=0.5))
    return out


def _export(demos, tmp_path, out, *words):
    argv = ["export-dataset", str(demos), str(tmp_path / out), "--data", str(tmp_path), *words]
    return main(argv)


def test_a_name_with_hdf5_is_a_robomimic_file(demos, tmp_path, capsys):
    assert _export(demos, tmp_path, "a.hdf5", "--size", "32", "--camera", "front", "wrist") == 0
    assert "a.hdf5: 2 episodes" in capsys.readouterr().out
    assert list(open_dataset(tmp_path / "a.hdf5").cameras) == ["front_image", "wrist_image"]


def test_a_name_without_an_ending_is_a_lerobot_folder(demos, tmp_path):
    need_libraries()
    assert _export(demos, tmp_path, "set", "--size", "32", "--low-dim", "ee_pos", "cube_pos") == 0
    data = open_dataset(tmp_path / "set")
    assert data.low_dim_names == {
        "observation.environment_state": ("cube_pos_0", "cube_pos_1", "cube_pos_2"),
        "observation.state": ("ee_pos_0", "ee_pos_1", "ee_pos_2"),
    }
    assert (data.task, data.rate_hz) == ("Pick up the cube.", 5)
    assert {name: mask.tolist() for name, mask in data.masks.items()}.keys() == {"train", "valid"}


@pytest.mark.parametrize(
    ("out", "words", "message"),
    [
        ("a.zip", (), "the name decides the format; allowed: NAME.hdf5"),
        ("a.hdf5", ("--images",), "--images is for a LeRobot folder"),
        (".", (), "exists; delete it, or give another name"),
    ],
)
def test_a_wrong_name_or_option_is_refused(demos, tmp_path, capsys, out, words, message):
    with pytest.raises(SystemExit) as ended:
        _export(demos, tmp_path, out, *words)
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_settings_of_bags_are_refused_for_collected_demonstrations(demos, tmp_path, capsys):
    words = ["export-dataset", str(demos), str(tmp_path / "out.hdf5"), "--action", "command"]
    assert main(words) == 2
    assert "action is of ROS bags" in " ".join(capsys.readouterr().err.split())


def test_a_size_of_a_recording_is_refused(demos, tmp_path, capsys):
    assert _export(demos, tmp_path, "a.hdf5", "--size", "32") == 0
    assert _export(tmp_path / "a.hdf5", tmp_path, "b.hdf5", "--size", "32") == 2
    assert "leave --size out" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("out", ["set", "a.hdf5"])
def test_bags_are_written_in_both_formats(tmp_path, out):
    need_libraries()
    pytest.importorskip("rosbags", reason="the extra `ros` is not installed")
    from support.bag_episodes import CAMERA, COMMAND, write_bags

    bags = write_bags(tmp_path / "bags", "bag", count=2, length=4)
    words = ["--action", "command", "--low-dim", "joint_states", "joint_states:velocity"]
    assert _export(bags, tmp_path, out, *words, "--tolerance-s", "0.2") == 0
    data, source = open_dataset(tmp_path / out), open_dataset(bags, action=[COMMAND])
    assert np.array_equal(data.actions, source.actions)
    assert sum(len(names) for names in data.low_dim_names.values()) == 4
    (camera,) = data.cameras
    frames = [np.stack(list(each)) for each in (data.frames(camera, 1), source.frames(CAMERA, 1))]
    assert np.abs(frames[0].astype(int) - frames[1]).mean() < (
        6 if out == "set" else 1e-9
    )  # H.264 halves colors
