"""What belongs to a run: everything that can change a row is compared before rows are added."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
from support.expert_policies import ENV_KWARGS, ExpertPolicy, PixelPolicy, header, pixel_encoder
from support.small_encoders import encoder_of

from s2robot.errors import MismatchError
from s2robot.evaluation import evaluate as module
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.identity import RECORD_FORMAT, camera_record, differences
from s2robot.evaluation.initial_states import InitialStates, make_initial_states
from s2robot.utils.io import read_json, write_json


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 3, ENV_KWARGS)


class DescribedEncoder:
    """``pixel_encoder`` with a description of how it computes."""

    def __init__(self, **changes: Any) -> None:
        exact = {"name": "eager", "exact": True}
        self.inference = {"runtime": exact, "dtype": "float32", "device": "cpu", **changes}

    def __call__(self, frames: Any) -> Any:
        return pixel_encoder(frames)


class Taken(Exception):
    """The folder is taken."""


def take(out: Path, initial_states: InitialStates, encoder: Any = None, **settings: Any) -> None:
    """Claim a folder, which rolls nothing out."""
    made = header("random/tiny" if encoder else "state", **settings.pop("header", {}))
    config = EvalConfig(num_envs=2, workers=0, horizon=2, videos=0, **settings)
    policy = PixelPolicy() if encoder else ExpertPolicy()

    def stop(_record: dict[str, Any]) -> None:
        raise Taken

    with pytest.raises(Taken):
        evaluate(policy, encoder, initial_states, config, out, header=made, on_claim=stop)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def test_the_record_names_what_can_change_a_row(tmp_path, initial_states):
    take(tmp_path, initial_states, DescribedEncoder())
    record = read_json(tmp_path / "run.json")
    assert record["format"] == RECORD_FORMAT == 2
    assert record["task"]["level"] == record["task"]["env"]["level"] == "easy"
    assert record["camera"].keys() == {"name", "size", "gl"}
    assert record["rollout"] == {
        "horizon": 2,
        "num_envs": 2,
        "tile_budget": None,
        "tile_choice": None,
        "reuse": False,
    }
    assert record["inference"] == DescribedEncoder().inference
    assert {"s2robot_rows", "torch", "mujoco"} <= record["versions"].keys()
    assert record["conditions"] == initial_states.record()


def test_a_baseline_has_neither_camera_nor_inference(tmp_path, initial_states):
    take(tmp_path, initial_states, tile_budget=3)
    record = read_json(tmp_path / "run.json")
    assert (record["camera"], record["inference"]) == (None, None)
    assert record["rollout"]["tile_budget"] is record["rollout"]["tile_choice"] is None


OPENVINO = {"name": "openvino", "openvino": "2026.4.1", "exact": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "bfloat16"}, r'inference\.dtype: there "float32", now "bfloat16"'),
        ({"device": "cuda"}, r'inference\.device: there "cpu", now "cuda"'),
        ({"runtime": OPENVINO}, r'inference\.runtime\.name: there "eager", now "openvino"'),
    ],
)
def test_other_arithmetic_is_another_run(tmp_path, initial_states, changes, message):
    take(tmp_path, initial_states, DescribedEncoder())
    before = content(tmp_path)
    with pytest.raises(MismatchError, match=message) as caught:
        take(tmp_path, initial_states, DescribedEncoder(**changes))
    for way_on in ("out=", "runs_dir=", "fresh=true"):
        assert way_on in str(caught.value)
    assert content(tmp_path) == before


@pytest.mark.parametrize("package", ["torch", "mujoco", "s2robot_rows"])
def test_other_versions_are_another_run(tmp_path, initial_states, monkeypatch, package):
    take(tmp_path, initial_states)
    others = {**module.deciding_versions(), package: "0"}
    monkeypatch.setattr(module, "deciding_versions", lambda: others)
    with pytest.raises(MismatchError, match=rf"versions\.{package} differ"):
        take(tmp_path, initial_states)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [({}, False), ({"dtype": "bfloat16"}, True), ({"device": "cuda"}, True)],
)
def test_reuse_of_tiles_counts_where_arithmetic_depends_on_the_batch(
    tmp_path, initial_states, changes, counts
):
    take(tmp_path, initial_states, DescribedEncoder(**changes), reuse=True)
    assert read_json(tmp_path / "run.json")["rollout"]["reuse"] is counts


def test_another_camera_and_another_renderer_are_named(tmp_path, initial_states, monkeypatch):
    take(tmp_path, initial_states, DescribedEncoder())
    smaller = {"frames": {"camera": {"name": "front", "size": 16}}}
    monkeypatch.setattr("s2robot.evaluation.identity.select_gl", lambda: "another")
    with pytest.raises(MismatchError, match=r"camera\.size, camera\.gl differ"):
        take(tmp_path, initial_states, DescribedEncoder(), header=smaller)
    assert camera_record({}) is None


@pytest.mark.render
def test_rows_of_two_precisions_never_become_one_run(tmp_path, initial_states):
    def run(dtype: str, states: InitialStates) -> Any:
        config = EvalConfig(num_envs=2, workers=0, horizon=2, videos=0)
        made = header("random/tiny")
        args = (PixelPolicy(), encoder_of(dtype=dtype), states, config, tmp_path)
        return evaluate(*args, header=made, progress=False)

    assert run("bfloat16", initial_states.beginning(2)).episodes == 2
    rows = (tmp_path / "episodes.jsonl").read_bytes()
    with pytest.raises(MismatchError, match=r"inference\.dtype differ"):
        run("float32", initial_states)
    assert (tmp_path / "episodes.jsonl").read_bytes() == rows
    assert run("bfloat16", initial_states).episodes == 3


def test_a_folder_of_the_first_format_is_refused_in_words(tmp_path, initial_states):
    write_json(tmp_path / "run.json", {"format": 1, "conditions": "0" * 64, "num_envs": 2})
    with pytest.raises(MismatchError, match="format 1 of another version.*Nothing was changed"):
        take(tmp_path, initial_states)


def test_an_encoder_describes_how_it_computes():
    encoder = encoder_of(dtype="bfloat16")
    assert encoder.inference == {
        "runtime": {"name": "eager", "exact": True},
        "dtype": "bfloat16",
        "device": "cpu",
    }


def test_differences_of_nested_records():
    seen = {"a": 1, "b": {"c": [1], "d": None}}
    assert list(differences(seen, seen)) == []
    wanted = {"b": {"c": [2], "d": {"e": 0}}, "f": 3}
    assert list(differences(seen, wanted)) == [
        ("a", 1, None),
        ("b.c", [1], [2]),
        ("b.d", None, {"e": 0}),
        ("f", None, 3),
    ]


def test_the_policy_file_counts(tmp_path, initial_states):
    take(tmp_path, initial_states)
    made = dataclasses.asdict(header("state"))
    assert made["sha256"] == read_json(tmp_path / "run.json")["policy"]
    with pytest.raises(MismatchError, match="policy differ"):
        take(tmp_path, initial_states, header={"sha256": "policy-2"})


def test_a_policy_from_a_mujoco_that_differs_is_evaluated_with_a_warning(
    tmp_path, initial_states, monkeypatch
):
    monkeypatch.setattr("s2robot.utils.provenance.versions", lambda: {"mujoco": "3.17.0"})
    header = {"provenance": {"versions": {"mujoco": "3.11.0"}}}
    with pytest.warns(UserWarning, match=r"3\.11\.0 and 3\.17\.0 differ .*texture coordinates"):
        take(tmp_path / "a", initial_states, header=header)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in (
            {},
            {"versions": {}},
            {"versions": ["mujoco"]},
            {"versions": {"mujoco": "3.16.0"}},
        ):
            take(tmp_path / "b", initial_states, header={"provenance": found})
