"""Bags as recorded data: choice of topics, alignment by stamps, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the extra `ros` is not installed")
from support.bag_episodes import CAMERA, COMMAND, JOINTS, TWIST, Episode, Message, reaching
from support.bag_episodes import write_bags as _write_bags
from support.recorded_data import recorded_arrays, write_robomimic

from s2robot.data.datasets.opening import layout_of, open_dataset
from s2robot.errors import CorruptFileError

FRAME = np.zeros((8, 10, 3), np.uint8)


def _open(path, action=(COMMAND,), cameras=None, low_dim=None, tolerance_s=None):
    return open_dataset(path, cameras, low_dim, action, tolerance_s)


def _numbered(frames=6, frame_ms=100.0, joint_ms=100.0, action_ms=100.0, until_ms=500.0):
    """Return an episode whose frames, joints and actions say when they were made [ms]."""
    episode = Episode()
    for number in range(frames):
        at = number * frame_ms
        episode.frame(at, np.full((8, 10, 3), number, np.uint8))
    for number in range(int(until_ms / joint_ms) + 1):
        episode.joints(number * joint_ms, [number * joint_ms])
    for number in range(int(until_ms / action_ms) + 1):
        episode.twist(number * action_ms, number * action_ms)
    return episode


def _frames(data, episode=0):
    return [int(frame[0, 0, 0]) for frame in data.frames(CAMERA, episode)]


@pytest.mark.parametrize("kind", ["bag", "mcap", "db3"])
def test_bags_of_each_format_give_the_recorded_episodes(tmp_path, kind):
    data = _open(_write_bags(tmp_path / "set", kind, count=2))
    assert layout_of(tmp_path / "set") == "bags"
    assert data.episode_ends.tolist() == [8, 16]
    assert data.rate_hz == pytest.approx(10)
    assert (data.action_names, data.cameras) == (("dx", "dy", "close"), {CAMERA: (32, 32)})
    assert data.low_dim_names == {JOINTS: ("joint_0", "joint_1")}
    for number in range(2):
        ((actions, positions, frames),) = recorded_arrays(1, 8, 32, number)
        rows = slice(8 * number, 8 * number + 8)
        assert np.allclose(data.actions[rows], actions)
        assert np.allclose(data.low_dim(JOINTS)[rows], positions, atol=1e-6)
        assert np.array_equal(np.stack(list(data.frames(CAMERA, number))), frames)


def test_a_single_bag_is_one_episode_and_names_are_ordered_by_number(tmp_path):
    folder = _write_bags(tmp_path / "set", "mcap", count=2)
    (folder / "episode_0_mcap").rename(folder / "episode_10_mcap")
    alone = _open(folder / "episode_1_mcap")
    whole = _open(folder)
    assert alone.episode_ends.tolist() == [8]
    assert np.array_equal(alone.actions, whole.actions[:8])


def test_a_row_has_the_newest_observation_and_the_next_action(tmp_path):
    episode = _numbered(joint_ms=30, action_ms=40)
    data = _open(episode.write(tmp_path / "a.bag"), [TWIST + ":twist.linear"])
    # Rows are the frames at 0, 100, ... 400 ms, as no action follows the last frame; an
    # observation may be newer by 10 ms, and an action older.
    assert data.low_dim(JOINTS)[:, 0].tolist() == [0, 90, 210, 300, 390]
    assert data.actions[:, 0].tolist() == [0, 120, 200, 320, 400]
    assert data.action_names == ("linear.x", "linear.y", "linear.z")


def test_the_slowest_topic_makes_the_rows(tmp_path):
    episode = _numbered(frames=16, frame_ms=33, joint_ms=10, action_ms=100)
    data = _open(episode.write(tmp_path / "a.bag"), [TWIST])
    assert data.rate_hz == pytest.approx(10)
    assert data.actions[:, 0].tolist() == [0, 100, 200, 300, 400, 500]
    assert _frames(data) == [0, 3, 6, 9, 12, 15]  # frame 3 is 1 ms, 15 is 5 ms before its action


def test_topics_that_begin_late_or_end_early_shorten_the_episode(tmp_path):
    episode = _numbered().only(lambda m: m.topic != JOINTS or 100 <= m.at_ms < 500)
    data = _open(episode.write(tmp_path / "a.bag"), [TWIST], tolerance_s=0.05)
    assert data.low_dim(JOINTS)[:, 0].tolist() == [100, 200, 300, 400]
    assert _frames(data) == [1, 2, 3, 4]


def test_many_rows_that_are_left_out_are_told(tmp_path):
    episode = _numbered().only(lambda m: m.topic != JOINTS or m.at_ms < 300)
    with pytest.warns(UserWarning, match=rf"3 of 6 rows .* since {JOINTS} has no messages"):
        _open(episode.write(tmp_path / "a.bag"), [TWIST], tolerance_s=0.05)


def test_messages_that_arrive_out_of_order_are_ordered_by_their_stamps(tmp_path):
    episode = _numbered()
    frames = [m for m in episode.messages if m.topic == CAMERA]
    frames[2].at_ms, frames[2].stamp_ms = 350, 200  # it arrives after the fourth frame
    data = _open(episode.write(tmp_path / "a.bag"), [TWIST])
    assert _frames(data) == [0, 1, 2, 3, 4, 5]


def test_several_actions_lie_side_by_side_and_fields_are_chosen(tmp_path):
    bag = reaching(0).write(tmp_path / "a.bag")
    data = _open(bag, ["command", "command:velocity"], low_dim=["joint_states:velocity"])
    assert data.action_names[:3] == ("/command.dx", "/command.dy", "/command.close")
    assert np.allclose(data.actions[:, 3:], 10 * data.actions[:, :3])
    assert list(data.low_dim_names) == ["/joint_states:velocity"]


def test_joints_are_ordered_by_name(tmp_path):
    episode = Episode()
    for number in range(4):
        episode.frame(100 * number, FRAME)
        names, values = ("a", "b"), (number, 10 + number)
        flip = slice(None, None, -1 if number % 2 else 1)
        episode.joints(100 * number, values[flip], JOINTS, names[flip])
    data = _open(episode.write(tmp_path / "a.bag"), [JOINTS])
    assert data.actions.tolist() == [[i, 10 + i] for i in range(4)]


def test_joints_of_all_bags_have_the_order_of_the_first(tmp_path):
    for bag, names in enumerate((("a", "b"), ("b", "a"))):
        episode = Episode()
        for number in range(4):
            episode.frame(100 * number, FRAME)
            values = {"a": number, "b": 10 + number}
            episode.joints(100 * number, [values[name] for name in names], JOINTS, names)
        episode.write(tmp_path / "bags" / f"{bag}.bag")
    data = _open(tmp_path / "bags", [JOINTS])
    assert data.actions.tolist() == 2 * [[i, 10 + i] for i in range(4)]


def test_a_tolerance_is_above_0(tmp_path):
    bag = reaching(0).write(tmp_path / "a.bag")
    with pytest.raises(ValueError, match="tolerance_s is -1.0; allowed: seconds above 0"):
        open_dataset(bag, action=["command"], tolerance_s=-1.0)


def test_the_compressed_copy_of_a_camera_is_used_only_where_it_is_named(tmp_path):
    episode = _numbered()
    for number in range(6):
        episode.frame(100 * number, FRAME, CAMERA + "/compressed")
    bag = episode.write(tmp_path / "a.bag")
    assert list(_open(bag, [TWIST]).cameras) == [CAMERA]
    named = _open(bag, [TWIST], cameras=["front/image_raw/compressed"])
    assert list(named.cameras) == [CAMERA + "/compressed"]


def test_task_masks_and_names_come_from_a_description(tmp_path):
    folder = _write_bags(tmp_path, "bag", count=2)
    content = {"task": "reach", "masks": {"valid": ["episode_1.bag"], "train": ["episode_0"]}}
    (folder / "dataset.json").write_text(json.dumps({**content, "action_names": ["x", "y", "g"]}))
    data = _open(folder)
    assert (data.task, data.action_names) == ("reach", ("x", "y", "g"))
    assert {name: mask.tolist() for name, mask in data.masks.items()} == {
        "valid": [1],
        "train": [0],
    }
    (folder / "dataset.json").write_text(json.dumps({"masks": {"valid": ["episode_7"]}}))
    with pytest.raises(CorruptFileError, match="names 'episode_7', which is no bag"):
        _open(folder)


def test_the_digest_is_of_content_and_rows_and_not_of_cameras_and_paths(tmp_path):
    first = _write_bags(tmp_path / "a", "bag", count=2)
    second = tmp_path / "b"
    first_digest = _open(first).digest
    first.rename(second)
    assert _open(second, low_dim=["joint_states:velocity"]).digest == first_digest
    assert _open(second, [JOINTS]).digest != first_digest
    reaching(7).write(second / "episode_2.bag")
    assert _open(second).digest != first_digest


def test_an_action_must_be_named_and_the_topics_are_listed(tmp_path):
    bag = reaching(0).write(tmp_path / "a.bag")
    with pytest.raises(
        ValueError, match=r"action=\[.*--action of .*/command \(sensor_msgs.*JointState\)"
    ):
        _open(bag, None)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"action": ["/absent"]}, r"no topic /absent with numbers; .* /command \("),
        ({"action": [CAMERA]}, "no topic /front/image_raw with numbers"),
        ({"low_dim": ["absent"]}, "no topic /absent with numbers"),
        ({"cameras": ["absent"]}, "unknown camera in .*'/absent'; available: /front/image_raw"),
        ({"cameras": [JOINTS]}, "/joint_states is a topic of sensor_msgs/msg/JointState; a camera"),
        ({"action": [COMMAND, "command"]}, "names a topic twice"),
        ({"action": ["command:torque"]}, "no field 'torque'; its fields are header, name, positio"),
        ({"action": ["command:effort"]}, "names 3 joints and has 0 numbers in effort"),
    ],
)
def test_topics_and_fields_that_are_not_there_are_refused(tmp_path, settings, why):
    bag = reaching(0).write(tmp_path / "a.bag")
    with pytest.raises((ValueError, CorruptFileError), match=why):
        _open(bag, **settings)


def test_a_topic_that_a_later_bag_lacks_is_named_with_the_bag(tmp_path):
    _write_bags(tmp_path, "bag", count=1)
    reaching(1).only(lambda m: m.topic != JOINTS).write(tmp_path / "episode_1.bag")
    with pytest.raises(CorruptFileError, match=rf"episode_1.bag has no messages of {JOINTS}"):
        _open(tmp_path)


@pytest.mark.parametrize("kind", ["bag", "mcap"])
def test_a_bag_whose_recording_was_not_ended_is_refused(tmp_path, kind):
    folder = _write_bags(tmp_path / "set", kind, count=2)
    if kind == "bag":
        last = sorted(folder.iterdir())[-1]
        left = last.rename(last.with_name(f"{last.name}.active"))
    else:
        left = sorted(folder.iterdir())[-1]
        (left / "metadata.yaml").unlink()
    with pytest.raises(CorruptFileError, match=f"{left.name} is a bag whose recording was not end"):
        _open(folder)


def test_a_camera_that_the_first_bag_lacks_is_refused_unless_others_are_named(tmp_path):
    _numbered().write(tmp_path / "episode_0.bag")
    episode = _numbered()
    for number in range(6):
        episode.frame(100 * number, FRAME, "/side")
    episode.write(tmp_path / "episode_1.bag")
    with pytest.raises(
        CorruptFileError, match=r"episode_1.bag has the camera /side, which .*_0.bag"
    ):
        _open(tmp_path, [TWIST])
    assert list(_open(tmp_path, [TWIST], cameras=[CAMERA]).cameras) == [CAMERA]


def test_a_type_without_a_header_is_refused_with_what_to_record(tmp_path):
    episode = _numbered()

    def twist(maker):
        types = maker.store.types
        zero = types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        return {"linear": zero, "angular": zero, "unstamped": True}

    episode.messages.append(Message(10, "/cmd_vel", "geometry_msgs/msg/Twist", twist))
    with pytest.raises(ValueError, match=r"Twist has no header with a stamp.*TwistStamped"):
        _open(episode.write(tmp_path / "a.bag"), ["/cmd_vel"])


def test_stamps_that_were_never_set_are_refused(tmp_path):
    episode = _numbered()
    for message in episode.messages:
        message.stamp_ms = -1 if message.topic == JOINTS and message.at_ms > 200 else None
    with pytest.raises(CorruptFileError, match=rf"{JOINTS}: message 3 .* without a stamp \(3 of 6"):
        _open(episode.write(tmp_path / "a.bag"), [TWIST])


def test_a_clock_that_was_set_back_is_refused(tmp_path):
    episode = _numbered(frames=40, until_ms=4000)
    for message in episode.messages:
        message.stamp_ms = message.at_ms - 2000 if message.at_ms >= 2000 else None
    with pytest.raises(CorruptFileError, match=r"the clock was set back; record each episode"):
        _open(episode.write(tmp_path / "a.bag"), [TWIST])


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        (JOINTS, rf"gap of {JOINTS}: 0.500 s after the first row, its last message is 0.2 s away"),
        (TWIST, rf"gap of {TWIST}: 0.400 s after the first row, its next message is 0.2 s away"),
        (CAMERA, rf"gap of {CAMERA}: 0.300 s after the first row, it has no message for 0.3 s"),
    ],
)
def test_a_gap_is_named_with_topic_and_time_and_a_tolerance_passes_it(tmp_path, topic, why):
    episode = _numbered(frames=9, until_ms=800)
    lost = (400, 500)
    bag = episode.only(lambda m: m.topic != topic or m.at_ms not in lost).write(tmp_path / "a.bag")
    with pytest.raises(CorruptFileError, match=why) as error:
        _open(bag, [TWIST])
    assert "tolerance_s is 0.15 s: give a larger tolerance_s" in str(error.value)
    assert _open(bag, [TWIST], tolerance_s=0.25).episode_ends[-1] >= 7


def test_clocks_that_have_nothing_in_common_are_refused_with_their_times(tmp_path):
    episode = _numbered()
    for message in episode.messages:
        message.stamp_ms = message.at_ms + 60_000 if message.topic == JOINTS else None
    with pytest.raises(CorruptFileError, match=rf"at no moment of {CAMERA}.*{JOINTS} 60.000 to"):
        _open(episode.write(tmp_path / "a.bag"), [TWIST])


def test_frames_of_another_size_are_refused_when_they_are_read(tmp_path):
    episode = _numbered()
    episode.frame(600, np.zeros((10, 8, 3), np.uint8))
    episode.joints(600, [0.0])
    episode.twist(600, 0.0)
    data = _open(episode.write(tmp_path / "a.bag"), [TWIST])
    with pytest.raises(CorruptFileError, match="a frame has 10 x 8 px; the first one .* 8 x 10"):
        list(data.frames(CAMERA, 0))


def test_other_joints_are_refused_in_a_bag_and_in_the_next(tmp_path):
    episode = _numbered()
    episode.joints(500, [0.0, 1.0])
    with pytest.raises(CorruptFileError, match="message 6 has 2 numbers .* the first one has 1"):
        _open(episode.write(tmp_path / "a.bag"), [TWIST])
    (tmp_path / "a.bag").unlink()
    _numbered().write(tmp_path / "a.bag")
    other = _numbered().only(lambda m: m.topic != JOINTS)
    for number in range(6):
        other.joints(100 * number, [0.0], JOINTS, ["elbow"])
    other.write(tmp_path / "b.bag")
    with pytest.raises(CorruptFileError, match="its numbers are elbow; in the first bag .*joint_0"):
        _open(tmp_path, [TWIST])


def test_settings_of_bags_are_refused_for_other_layouts(tmp_path):
    path = write_robomimic(tmp_path / "a.hdf5")
    with pytest.raises(ValueError, match="action is of ROS bags, and .* is a robomimic file"):
        open_dataset(path, action=["/command"])
