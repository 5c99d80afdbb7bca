"""Collection, the data set on disk, and frames rendered from its states."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
from support.damage import attempt, mutations
from support.other_pictures import OTHER_PICTURES

from s2robot.data import collection
from s2robot.data.collection import CollectConfig, collect
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.rendered_frames import CameraConfig, RenderedFrames
from s2robot.envs.levels import get_level
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import CorruptFileError, MismatchError


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Demonstrations:
    out = tmp_path_factory.mktemp("demos") / "easy.hdf5"
    return collect(CollectConfig(level="easy", episodes=4, out=out, valid_share=0.25))


def opened(path: Path, mode: Literal["r", "r+"] = "r") -> Any:
    """h5py's items are unions that a type checker cannot follow."""
    return h5py.File(path, mode)


def test_layout_is_robomimics(demos):
    with opened(demos.path) as file:
        first = file["data/demo_0"]
        steps = first.attrs["num_samples"]
        assert file["data"].attrs["total"] == demos.num_frames
        assert first["actions"].shape == (steps, 4)
        assert first["states"].shape[0] == steps
        assert set(first["obs"]) == set(first["next_obs"])
        np.testing.assert_array_equal(first["obs/ee_pos"][1:], first["next_obs/ee_pos"][:-1])
        assert first["dones"][-1] == 1
        assert "<mujoco" in first.attrs["model_file"]
        masks = {bytes(name) for key in ("train", "valid") for name in file[f"mask/{key}"][:]}
    assert masks == {b"demo_0", b"demo_1", b"demo_2", b"demo_3"}


def test_robomimic_reads_it(demos):
    from robomimic.utils import file_utils

    meta = file_utils.get_env_metadata_from_dataset(str(demos.path))
    assert meta["env_name"] == "s2robot/PickCube-v0"
    assert meta["env_kwargs"]["level"] == "easy"


def test_every_demonstration_ends_with_the_cube_up(demos):
    assert all(episode.success[-1] for episode in demos.episodes)
    assert [len(demos.train_episodes), len(demos.valid_episodes)] == [3, 1]


def test_labels_are_clean_and_execution_is_noisy(demos):
    from s2robot.envs.expert import ScriptedExpert

    episode = demos.episodes[0]
    expert = ScriptedExpert(PickCubeEnv(**demos.env_kwargs).level)
    obs = {key: value[3] for key, value in episode.obs.items()}
    np.testing.assert_allclose(episode.actions[3], expert.action(obs), atol=1e-6)
    assert any(not np.array_equal(e.actions, e.executed) for e in demos.episodes)


def test_states_replay_to_the_recorded_observations(demos):
    env = PickCubeEnv(**demos.env_kwargs)
    episode = demos.episodes[1]
    env.reset(seed=0, options={"state": episode.states[0]})
    for t, action in enumerate(episode.executed):
        obs = env.step(action)[0]
        np.testing.assert_array_equal(obs["joint_pos"], episode.obs["joint_pos"][t + 1])


def test_collecting_again_takes_the_file_up(demos):
    before = demos.path.stat().st_mtime_ns
    again = collect(CollectConfig(level="easy", episodes=4, out=demos.path, valid_share=0.25))
    assert again.digest == demos.digest
    assert demos.path.stat().st_mtime_ns == before


def test_a_collection_is_found_again_with_its_environment_spelled_otherwise(demos):
    own = {"horizon": get_level("easy").horizon, "quality": {}}
    settings = {"level": "easy", "episodes": 4, "out": demos.path, "valid_share": 0.25}
    assert collect(CollectConfig(**settings, env=own)).digest == demos.digest
    with pytest.raises(MismatchError, match="give another out="):
        collect(CollectConfig(**settings, env={"horizon": own["horizon"] + 1}))


def test_a_folder_in_place_of_a_file_is_named_and_nothing_is_written_beside_it(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ValueError, match="folder is a folder; name a file"):
        collect(CollectConfig(level="easy", episodes=2, out=folder))
    with pytest.raises(ValueError, match="folder is a folder; give a file"):
        Demonstrations(folder)
    assert list(tmp_path.rglob("*")) == [folder]


def test_other_settings_are_refused(demos):
    with pytest.raises(MismatchError, match="give another out="):
        collect(CollectConfig(level="easy", episodes=5, out=demos.path))


def another_mujoco(monkeypatch, version: str) -> None:
    for module in ("data.collection", "utils.provenance"):
        monkeypatch.setattr(f"s2robot.{module}.versions", lambda: {"mujoco": version})


def recorded(demos: Demonstrations, path: Path, version: str) -> Path:
    """Return a copy whose record names another release of MuJoCo."""
    path.write_bytes(demos.path.read_bytes())
    with h5py.File(path, "r+") as file:
        meta = json.loads(file["data"].attrs["s2robot"])  # type: ignore[arg-type]
        meta["provenance"]["versions"]["mujoco"] = version
        file["data"].attrs["s2robot"] = json.dumps(meta)
    return path


def test_a_file_of_a_mujoco_that_differs_is_not_taken_for_a_collection(
    demos, tmp_path, monkeypatch
):
    another_mujoco(monkeypatch, "3.17.0")
    settings = CollectConfig(level="easy", episodes=4, out=tmp_path / "a", valid_share=0.25)
    recorded(demos, tmp_path / "a", "3.14.0")
    with pytest.raises(MismatchError, match=r"3\.14\.0 and 3\.17\.0 differ .3\.15\.0: damping"):
        collect(settings)
    recorded(demos, tmp_path / "a", "3.15.0")
    assert collect(settings).digest == demos.digest


def test_an_interrupted_collection_is_not_continued_by_a_mujoco_that_differs(tmp_path, monkeypatch):
    settings = CollectConfig(level="easy", episodes=2, out=tmp_path / "a")
    folder = tmp_path / "a.parts"
    folder.mkdir()
    another_mujoco(monkeypatch, "3.11.0")
    collection._claim(folder, settings)
    collection._claim(folder, settings)
    another_mujoco(monkeypatch, "3.17.0")
    with pytest.raises(MismatchError, match=r"3\.11\.0 and 3\.17\.0 differ .*Delete the folder"):
        collect(settings)
    (folder / "made_with.json").unlink()
    with pytest.raises(MismatchError, match=r"of an unknown version and 3\.17\.0"):
        collect(settings)
    assert not settings.path.exists()


def test_an_interrupted_collection_is_not_continued_by_code_that_simulates_otherwise(
    tmp_path, monkeypatch
):
    settings = CollectConfig(level="easy", episodes=2, out=tmp_path / "a")
    (tmp_path / "a.parts").mkdir()
    collection._claim(tmp_path / "a.parts", settings)
    monkeypatch.setattr(collection, "RESULTS_VERSION", -1)
    with pytest.raises(MismatchError, match="this release of s2robot simulates otherwise"):
        collect(settings)


@pytest.mark.process
@pytest.mark.slow
def test_a_killed_collection_resumes_to_the_same_data(demos, tmp_path):
    out = tmp_path / "easy.hdf5"
    words = ["collect", "level=easy", "episodes=4", f"out={out}", "valid_share=0.25"]
    process = subprocess.Popen(
        [sys.executable, "-m", "s2robot.cli.main", *words], stdout=subprocess.DEVNULL
    )
    parts = out.with_name(out.name + ".parts")
    deadline = time.monotonic() + 120
    while len(list(parts.glob("attempt_*.npz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert len(list(parts.glob("attempt_*.npz"))) >= 2
    resumed = collect(CollectConfig(level="easy", episodes=4, out=out, valid_share=0.25))
    assert resumed.digest == demos.digest
    assert not parts.exists()


def test_a_damaged_part_of_a_killed_collection_is_recorded_again(demos, tmp_path, monkeypatch):
    config = CollectConfig(level="easy", episodes=4, out=tmp_path / "easy.hdf5", valid_share=0.25)
    parts = stopped_before_the_file(config, monkeypatch)
    part = parts / "attempt_00001.npz"
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.warns(UserWarning, match=r"attempt_00001\.npz is damaged .* recorded again now"):
        assert collect(config).digest == demos.digest


def test_parts_without_their_settings_are_not_mixed_into_a_collection(tmp_path, monkeypatch):
    config = CollectConfig(level="easy", episodes=2, out=tmp_path / "easy.hdf5", valid_share=0.4)
    parts = stopped_before_the_file(config, monkeypatch)
    (parts / "recipe.json").unlink()
    with pytest.raises(MismatchError, match=r"not its settings .*delete the folder"):
        collect(config)


def stopped_before_the_file(config: CollectConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patched:
        patched.setattr("s2robot.data.collection.write_demonstrations", stopped)
        with pytest.raises(KeyboardInterrupt):
            collect(config)
    return next(config.path.parent.glob("*.parts"))


def stopped(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("control, size", [("joint_delta", 8), ("ee_delta", 5)])
def test_other_action_spaces_are_collected(control, size, tmp_path):
    yaw = {"yaw_range_rad": 0.5} if size == 5 else {}
    settings = CollectConfig(
        level="easy", control=control, episodes=2, data_dir=tmp_path, env=yaw, seed=3
    )
    other = collect(settings)
    assert other.actions.shape[1] == size
    assert other.control == control
    assert np.abs(other.actions).max() <= 1


def test_a_file_cut_in_half_is_refused(demos, tmp_path):
    half = tmp_path / "half.hdf5"
    content = demos.path.read_bytes()
    half.write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptFileError, match="collect it again"):
        Demonstrations(half)


def test_an_altered_file_is_refused(demos, tmp_path):
    altered = tmp_path / "altered.hdf5"
    altered.write_bytes(demos.path.read_bytes())
    with opened(altered, "r+") as file:
        file["data/demo_0/actions"][0, 0] += 0.1
    with pytest.raises(CorruptFileError, match="digest"):
        Demonstrations(altered)


def write_masks(file: Any) -> None:
    names = {key: file[f"mask/{key}"][:] for key in ("train", "valid")}
    held_out = names["train"][:1]
    del file["mask/train"], file["mask/valid"]
    file["mask/train"] = np.sort(np.concatenate([names["train"][1:], names["valid"]]))
    file["mask/valid"] = held_out


def write_env(file: Any) -> None:
    args = json.loads(file["data"].attrs["env_args"])
    args["env_kwargs"]["horizon"] += 1
    file["data"].attrs["env_args"] = json.dumps(args)


def write_rewards(file: Any) -> None:
    file["data/demo_1/rewards"][-1] = 0.0


def write_executed(file: Any) -> None:
    file["data/demo_1/executed_actions"][0, 0] += 0.1


CHANGES = [write_masks, write_env, write_rewards, write_executed]


def changed_copy(path: Path, source: Path, change: Callable[[Any], None]) -> Demonstrations:
    path.write_bytes(source.read_bytes())
    with opened(path, "r+") as file:
        change(file)
    return Demonstrations(path)


@pytest.mark.parametrize("change", CHANGES)
def test_other_masks_settings_and_rewards_are_another_identity(demos, tmp_path, change):
    """Frames and features, which ``digest`` names, do not depend on them."""
    other = changed_copy(tmp_path / "other.hdf5", demos.path, change)
    assert other.digest == demos.digest
    assert other.identity_digest != demos.identity_digest


def test_a_copy_has_the_same_identity(demos, tmp_path):
    again = changed_copy(tmp_path / "copy.hdf5", demos.path, lambda _: None)
    assert again.identity_digest == demos.identity_digest


def test_frames_name_everything_that_decides_their_pixels(demos, tmp_path, monkeypatch):
    def folder() -> str:
        return RenderedFrames(demos, CameraConfig("front", 32), tmp_path)._folder.name

    source = RenderedFrames(demos, CameraConfig("front", 32), tmp_path).source
    assert source.keys() == {"kind", "camera", "env", "mujoco", "gl", "scene"}
    names = {folder()}
    for change in OTHER_PICTURES:
        with monkeypatch.context() as patched:
            patched.setattr(*change)
            names.add(folder())
    assert len(names) == 4


def test_a_foreign_data_set_is_refused(tmp_path):
    foreign = tmp_path / "lift.hdf5"
    with h5py.File(foreign, "w") as file:
        file.create_group("data").attrs["env_args"] = "{}"
    with pytest.raises(CorruptFileError, match="of another program"):
        Demonstrations(foreign)


@pytest.mark.parametrize("name", ["s2robot", "env_args"])
def test_every_damage_of_a_record_is_an_error_or_another_data_set(demos, tmp_path, name):
    """Settings of the environment may differ: those are another data set, with its own identity."""
    with opened(demos.path) as file:
        damages = list(mutations(json.loads(file["data"].attrs[name])))
    path, errors = tmp_path / "damaged.hdf5", 0
    path.write_bytes(demos.path.read_bytes())
    for damage, content in [*damages[:: 1 if name == "env_args" else 5], ("no JSON", None)]:
        with opened(path, "r+") as file:
            text = "{" if content is None else json.dumps(content)
            file["data"].attrs[name] = text
        found, message = attempt(lambda: Demonstrations(path), CorruptFileError)
        errors += found is None
        assert found is not None or str(path) in message, damage
        if found is not None:
            assert found.digest == demos.digest, damage
            assert found.motion_dims, damage
            same = [repr((each.env_name, each.env_kwargs)) for each in (found, demos)]
            assert same[0] == same[1] or found.identity_digest != demos.identity_digest, damage
    assert errors > 10


MASKS = [[], [b"demo_0", b"demo_0"], [b"demo_9"], [b"demo_-1"], [b"x"], [1, 2], [1.5]]


@pytest.mark.parametrize("names", MASKS)
def test_masks_that_divide_no_episodes_are_refused(demos, tmp_path, names):
    def write(file: Any) -> None:
        del file["mask/train"]
        file["mask/train"] = np.array(names)

    with pytest.raises(CorruptFileError, match=r"mask/train.*collect it again"):
        changed_copy(tmp_path / "damaged.hdf5", demos.path, write)


def test_an_episode_that_is_trained_on_and_held_out_is_refused(demos, tmp_path):
    def write(file: Any) -> None:
        names = file["mask/train"][:]
        del file["mask/valid"]
        file["mask/valid"] = names[:1]

    with pytest.raises(CorruptFileError, match="name an episode twice"):
        changed_copy(tmp_path / "damaged.hdf5", demos.path, write)


PARTS = ["actions", "executed_actions", "states", "rewards", "obs/ee_pos", "next_obs/ee_pos"]
ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "cut": lambda array: array[:-1],
    "longer": lambda array: np.concatenate([array, array[-1:]]),
    "empty": lambda array: array[:0],
    "flat": lambda array: array.reshape(-1)[:3],
    "scalar": lambda array: array.reshape(-1)[0],
    "words": lambda array: np.array([b"x"] * len(array)),
    "NaN": lambda array: np.full_like(array, np.nan),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ARRAYS)
def test_arrays_of_other_shapes_or_types_are_refused(demos, tmp_path, part, damage):
    def write(file: Any) -> None:
        place = f"data/demo_1/{part}"
        array = ARRAYS[damage](file[place][:])
        del file[place]
        file[place] = array

    with pytest.raises(CorruptFileError, match=r"collect it again"):
        changed_copy(tmp_path / "damaged.hdf5", demos.path, write)


@pytest.mark.parametrize("part", ["", "obs", "next_obs", *PARTS])
def test_missing_parts_are_refused(demos, tmp_path, part):
    def write(file: Any) -> None:
        del file[f"data/demo_1/{part}".rstrip("/")]

    with pytest.raises(CorruptFileError, match=r"collect it again"):
        changed_copy(tmp_path / "damaged.hdf5", demos.path, write)


@pytest.mark.parametrize("place", ["data", "data/demo_1"])
@pytest.mark.parametrize("value", [0, -1, 10**9, "x"])
def test_counts_of_steps_that_are_not_those_of_the_file_are_refused(demos, tmp_path, place, value):
    def write(file: Any) -> None:
        file[place].attrs["total" if place == "data" else "num_samples"] = value

    with pytest.raises(CorruptFileError, match=r"collect it again"):
        changed_copy(tmp_path / "damaged.hdf5", demos.path, write)


def test_flipped_bits_are_refused_or_change_nothing(demos, tmp_path):
    path, whole = tmp_path / "damaged.hdf5", demos.path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*rng.integers(4096, size=40), *rng.integers(len(whole), size=40)]:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        found, _ = attempt(lambda: Demonstrations(path), CorruptFileError)
        assert found is None or found.digest == demos.digest


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="s2robot collect"):
        Demonstrations(tmp_path / "none.hdf5")


def test_an_unknown_observation_lists_the_known(demos):
    with pytest.raises(KeyError, match="ee_pos"):
        demos.low_dim("pose")


@pytest.mark.render
def test_frames_are_those_of_the_states_and_cached(demos, tmp_path):
    frames = RenderedFrames(demos, CameraConfig("front", 64), tmp_path)
    middle = demos.episode_ends[0] - 1
    read = frames.read(int(middle), int(middle) + 2)  # across two episodes
    env = PickCubeEnv(**demos.env_kwargs)
    env.reset(seed=0)
    for frame, state in zip(read, demos.states[middle : middle + 2], strict=True):
        env.set_state(state)
        np.testing.assert_array_equal(frame, env.render_frame("front", 64, 64))
    again = RenderedFrames(demos, CameraConfig("front", 64), tmp_path)
    np.testing.assert_array_equal(again.read(0, len(again)), frames.read(0, len(frames)))


@pytest.mark.render
@pytest.mark.parametrize("damage", ["cut", "empty", "other type", "other size", "objects"])
def test_damaged_frames_are_rendered_again(demos, tmp_path, damage):
    whole = RenderedFrames(demos, CameraConfig("front", 32), tmp_path).read(0, 9)
    shard = next(tmp_path.rglob("episode_00000.npy"))
    frames = np.load(shard)
    if damage in ("cut", "empty"):
        shard.write_bytes(shard.read_bytes()[:-10] if damage == "cut" else b"")
    else:
        others = {"other type": frames.astype(np.int8), "other size": frames[:, :16]}
        np.save(shard, others.get(damage, np.array([{}])), allow_pickle=True)
    again = RenderedFrames(demos, CameraConfig("front", 32), tmp_path)
    with pytest.warns(UserWarning, match=r"episode_00000\.npy is damaged .* rendered again now"):
        np.testing.assert_array_equal(again.read(0, 9), whole)
