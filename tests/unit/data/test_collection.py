"""Collection of demonstrations: what is found again, refused, resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.forked import ForkedProcess

from s2robot.data import collection
from s2robot.data.collection import CollectConfig, collect
from s2robot.data.demonstrations import Demonstrations
from s2robot.envs.levels import get_level
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import MismatchError


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
    process = ForkedProcess(
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


@pytest.mark.process
def test_the_data_do_not_depend_on_the_number_of_workers(demos, tmp_path, monkeypatch):
    settings = CollectConfig(
        level="easy", episodes=4, out=tmp_path / "easy.hdf5", valid_share=0.25, workers=2
    )
    parts = stopped_before_the_file(settings, monkeypatch)
    assert len(list(parts.glob("attempt_*.npz"))) == 4  # no attempt more than was needed
    (parts / "attempt_00001.npz").unlink()  # of an interruption between the others
    assert collect(settings).identity_digest == demos.identity_digest


@pytest.mark.process
def test_failures_are_counted_and_replaced_by_the_next_attempts(tmp_path):
    env = {"horizon": 10}  # too short for some starts
    files = [
        collect(CollectConfig(level="easy", episodes=4, out=tmp_path / str(n), env=env, workers=n))
        for n in (0, 2)
    ]
    assert files[0].meta["failures"] == files[1].meta["failures"] > 0
    assert files[0].identity_digest == files[1].identity_digest
    assert all(episode.success[-1] for episode in files[0].episodes)


@pytest.mark.process
@pytest.mark.slow
def test_a_collection_that_was_stopped_by_ctrl_c_resumes_to_the_same_data(tmp_path):
    out = tmp_path / "easy.hdf5"
    words = ["collect", "level=easy", "episodes=60", f"out={out}", "workers=2"]
    process = ForkedProcess([sys.executable, "-m", "s2robot.cli.main", *words])
    parts = out.with_name(out.name + ".parts")
    deadline = time.monotonic() + 120
    while len(list(parts.glob("attempt_*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert not out.exists()
    assert not list(parts.glob(".*"))  # nothing half written
    whole = CollectConfig(level="easy", episodes=60, out=tmp_path / "whole.hdf5", workers=0)
    resumed = collect(CollectConfig(level="easy", episodes=60, out=out, workers=0))
    assert resumed.digest == collect(whole).digest


@pytest.mark.parametrize("workers", [-1, 1.5, True])
def test_a_number_of_workers_that_cannot_be_is_refused(workers):
    with pytest.raises(ValueError, match=r"workers is .*; allowed: an integer of 0 or more"):
        CollectConfig(workers=workers)


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
