"""A policy is taken up, and its rows are resumed, only where nothing that decides them changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from s2robot.data.collection import CollectConfig, collect
from s2robot.errors import MismatchError
from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments import settings as module
from s2robot.experiments.jobs import RunJob, TrainJob
from s2robot.experiments.pipeline import choose_hyperparameters, execute_run, policy_folder
from s2robot.experiments.settings import policy_settings
from s2robot.experiments.variant import CameraChoice, DemosChoice, Variant, VariantConfig
from s2robot.policies.config import PolicyConfig
from s2robot.training.hyperparameter_search import SearchConfig
from s2robot.training.trainer import TrainConfig
from s2robot.utils.io import read_json
from s2robot.utils.provenance import deciding_versions, simulation_generation

SECTIONS = "task demonstrations camera encoder policy train search rollout inference versions"
SEARCH = SearchConfig(trials=2, epochs=1, hidden=(8, 16))


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demos") / "easy.hdf5"
    return collect(CollectConfig(level="easy", episodes=3, out=out)).path


def variant_of(demos: Path, encoder: str = "privileged_state", **changes: Any) -> Variant:
    settings = {"level": "easy", "device": "cpu", "dtype": "float32", **changes}
    settings.setdefault("data_dir", demos.parent / "data")
    return Variant(VariantConfig(encoder=encoder, demos=DemosChoice(path=demos), **settings))


def train_job(demos: Path, **changes: Any) -> TrainJob:
    variant = changes.pop("variant", None) or variant_of(demos)
    settings = {"policy": PolicyConfig(hidden=(8,)), "train": TrainConfig(epochs=1), **changes}
    return TrainJob(variant.config, **settings)


def name_of(demos: Path, **changes: Any) -> str:
    job = train_job(demos, **changes)
    return policy_folder(job, Variant(job.variant)).name


def test_policies_whose_normalization_changed_have_new_names_and_no_others(
    demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gripper's tilt, a channel where it turns, is no longer scaled to unit variance."""
    job, variant = train_job(demos), variant_of(demos)
    before = policy_settings(job, variant)
    assert "normalization" not in before["policy"]
    monkeypatch.setattr(Variant, "yaw", True)
    policy = {**before["policy"], "normalization": 2}
    assert policy_settings(job, variant) == {**before, "policy": policy}


def run_job(demos: Path, folder: Path, **changes: Any) -> RunJob:
    rollout = EvalConfig(num_envs=2, horizon=2, videos=0)
    job = train_job(demos, runs_dir=folder / "runs", seed=changes.pop("seed", 0))
    return RunJob(job, **{"n": 2, "rollout": rollout, **changes})


def the_run(folder: Path) -> Path:
    (path,) = folder.rglob("run.json")
    return path.parent


def other_masks(file: Any) -> None:
    train, valid = (file[f"mask/{key}"][:] for key in ("train", "valid"))
    del file["mask/train"], file["mask/valid"]
    file["mask/train"] = np.concatenate([train[1:], valid])
    file["mask/valid"] = train[:1]


def other_env(file: Any) -> None:
    args = json.loads(file["data"].attrs["env_args"])
    args["env_kwargs"]["horizon"] += 1
    file["data"].attrs["env_args"] = json.dumps(args)


def other_rewards(file: Any) -> None:
    file["data/demo_1/rewards"][-1] = 0.0


@pytest.mark.parametrize("change", [other_masks, other_env, other_rewards])
def test_a_policy_is_not_taken_up_once_its_data_changed(
    tmp_path: Path, demos: Path, change: Callable[[Any], None]
) -> None:
    own = tmp_path / "demos.hdf5"
    own.write_bytes(demos.read_bytes())
    job = run_job(own, tmp_path)
    execute_run(job, log=lambda _: None)
    (first,) = tmp_path.rglob("policy.safetensors")
    with h5py.File(own, "r+") as file:
        change(file)
    execute_run(job, log=lambda _: None)
    assert len(list(tmp_path.rglob("policy.safetensors"))) == 2
    assert first.exists()


def test_settings_are_in_the_name_of_a_policy(demos: Path) -> None:
    same = name_of(demos, train=TrainConfig(epochs=1, seed=7))  # the job's own seed counts
    assert same == name_of(demos)
    assert same == name_of(demos, train=TrainConfig(epochs=1, checkpoint_every=3))
    changed = [
        name_of(demos, seed=1),
        name_of(demos, train=TrainConfig(epochs=2)),
        name_of(demos, policy=PolicyConfig(hidden=(9,))),
        name_of(demos, search=SEARCH),
        name_of(demos, search=dataclasses.replace(SEARCH, trials=3)),
    ]
    assert len({same, *changed}) == 6


@pytest.mark.render
def test_pixels_and_arithmetic_are_in_the_name_of_a_policy(
    demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(**changes: Any) -> str:
        return name_of(demos, variant=variant_of(demos, "random/vitt16-128", **changes))

    same = name()
    changed = [
        name(camera=CameraChoice(size=200)),
        name(dtype="bfloat16"),
        name(scales=(1.0,)),
    ]
    for target, value in (
        ("s2robot.data.rendered_frames.select_gl", lambda: "another"),
        ("s2robot.experiments.settings.deciding_versions", lambda: {"torch": "0"}),
        ("s2robot.experiments.settings.resolve_device", lambda _: _Device()),
        ("s2robot.runtimes.eager.EagerRuntime.describe", lambda _: {"name": "another"}),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(target, value)
            changed.append(name())
    assert len({same, *changed}) == 8
    assert name() == same


class _Device:
    type = "another"


def test_cell_json_holds_all_settings_but_the_seed(tmp_path: Path, demos: Path) -> None:
    for seed in (0, 1):
        execute_run(run_job(demos, tmp_path, seed=seed), log=lambda _: None)
    cells = [read_json(path) for path in tmp_path.rglob("cell.json")]
    assert sorted(cell["seed"] for cell in cells) == [0, 1]
    first, second = (cell["settings"] for cell in cells)
    assert first == second
    assert set(first) == set(SECTIONS.split())
    assert "seed" not in first["train"]
    run = read_json(the_run_of(tmp_path, 0) / "run.json")
    for section in ("task", "camera", "rollout", "inference", "versions"):
        assert first[section] == run[section]
    assert (cells[0]["format"], cells[0]["family"]) == (2, None)
    assert cells[0]["demos"] == first["demonstrations"]
    assert cells[0]["conditions"].keys() == {"hash", "starts", "n", "split", "first"}


def the_run_of(folder: Path, seed: int) -> Path:
    (path,) = folder.rglob(f"*seed{seed}*/run.json")
    return path.parent


@pytest.mark.parametrize("changes", [{"split": "selection"}, {"first": 1}])
def test_a_refused_run_keeps_its_description(
    tmp_path: Path, demos: Path, changes: dict[str, Any]
) -> None:
    """Before, ``cell.json`` took the new initial states on, and then the run was refused."""
    execute_run(run_job(demos, tmp_path), log=lambda _: None)
    folder = the_run(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.glob("*.json*")}
    assert {"cell.json", "run.json", "summary.json"} <= before.keys()
    (name,) = changes
    with pytest.raises(MismatchError, match=rf"conditions\.{name}"):
        execute_run(run_job(demos, tmp_path, **{"n": 4, **changes}), log=lambda _: None)
    assert {path.name: path.read_bytes() for path in folder.glob("*.json*")} == before


def test_more_initial_states_extend_a_run_and_fewer_leave_it(tmp_path: Path, demos: Path) -> None:
    def claimed() -> list[int]:
        records = (read_json(the_run(tmp_path) / f"{name}.json") for name in ("run", "cell"))
        return [record["conditions"]["n"] for record in records]

    for n, total in ((2, 2), (5, 5), (3, 5)):
        summary = execute_run(run_job(demos, tmp_path, n=n), log=lambda _: None)
        assert summary.episodes == total
        assert claimed() == [total, total]


def test_a_description_never_claims_more_than_its_run(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute_run(run_job(demos, tmp_path), log=lambda _: None)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("s2robot.experiments.pipeline.run_record", killed)
    with pytest.raises(KeyboardInterrupt):
        execute_run(run_job(demos, tmp_path, n=4), log=lambda _: None)
    folder = the_run(tmp_path)
    assert read_json(folder / "run.json")["conditions"]["n"] == 4
    assert read_json(folder / "cell.json")["conditions"]["n"] == 2


def test_every_seed_has_a_search_of_its_own(tmp_path: Path, demos: Path) -> None:
    scores = {}
    for seed in (0, 1):
        job = train_job(demos, search=SEARCH, seed=seed, runs_dir=tmp_path)
        variant = Variant(job.variant)
        choice = choose_hyperparameters(job, variant)
        assert choice is not None
        assert choice == choose_hyperparameters(job, variant)  # from the cache
        scores[seed] = [trial["score"] for trial in choice.trials]
    assert len(list((tmp_path / "heads").glob("*.jsonl"))) == 2
    assert set(scores[0]).isdisjoint(scores[1])


def test_settings_survive_json(demos: Path) -> None:
    job = train_job(demos, search=SEARCH)
    settings = policy_settings(job, Variant(job.variant))
    assert json.loads(json.dumps(settings)) == settings
    assert (
        module.policy_digest(job, Variant(job.variant))[:10] == name_of(demos, search=SEARCH)[-10:]
    )


def test_named_demonstrations_of_a_mujoco_that_differs_are_taken_with_a_warning(
    demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2robot.utils.provenance.versions", lambda: {"mujoco": "3.4.0"})
    with pytest.warns(UserWarning, match=r"collected under another MuJoCo .* and 3\.4\.0"):
        assert variant_of(demos).demos.num_episodes == 3


def test_policies_of_releases_of_mujoco_that_simulate_alike_have_one_name(
    demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for version in ("3.15.0", "3.17.0", "3.14.0"):
        found = {**deciding_versions(), "mujoco": simulation_generation(version)}
        monkeypatch.setattr("s2robot.experiments.settings.deciding_versions", lambda f=found: f)
        names.append(name_of(demos))
    assert names[0] == names[1] != names[2]
