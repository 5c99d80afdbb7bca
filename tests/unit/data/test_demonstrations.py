"""The data set on disk: its layout, its identity, and every damage of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
from support.damage import attempt, mutations
from support.recorded_data import write_robomimic

from s2robot.data.demonstrations import Demonstrations
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import CorruptFileError


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


def test_states_replay_to_the_recorded_observations(demos):
    env = PickCubeEnv(**demos.env_kwargs)
    episode = demos.episodes[1]
    env.reset(seed=0, options={"state": episode.states[0]})
    for t, action in enumerate(episode.executed):
        obs = env.step(action)[0]
        np.testing.assert_array_equal(obs["joint_pos"], episode.obs["joint_pos"][t + 1])


def test_a_file_cut_in_half_is_refused(demos, tmp_path):
    half = tmp_path / "half.hdf5"
    content = demos.path.read_bytes()
    half.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        CorruptFileError, match="it is truncated. Copy it again from where"
    ) as error:
        Demonstrations(half)
    assert "collect it again" not in str(error.value)  # it may be somebody's
    assert "eof" not in str(error.value)


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


def test_a_file_of_another_program_is_refused_without_advice_to_collect_it_again(tmp_path) -> None:
    path = write_robomimic(tmp_path / "lift.hdf5")
    with pytest.raises(CorruptFileError, match=r"of another program.*s2robot train data=") as error:
        Demonstrations(path)
    assert "collect it again" not in str(error.value)
