"""A probe study: rows, differences, continuing after a kill, and the command."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.damage import mutations
from support.probe_scenes import SMALL
from support.tiny_models import write_tiny_model

from s2robot.analysis.probes import dense, linear, scenes
from s2robot.analysis.probes.scenes import (
    SceneData,
)
from s2robot.analysis.probes.stored_rows import is_whole
from s2robot.analysis.probes.study import (
    Study,
    StudyConfig,
    _progress,
    describe,
    differences,
    mark_of,
)
from s2robot.analysis.probes.tasks import Outcome, get_task
from s2robot.cli.main import main as s2robot
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import CorruptFileError
from s2robot.utils.io import append_jsonl, read_jsonl


# ----------------------------------------------------------------------------------------- study
@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture
def config(encoder: str, data: SceneData, folder: Path, tmp_path: Path) -> StudyConfig:
    assert len(data)
    return StudyConfig(
        (encoder,),
        ((1,), (1, 2)),
        ((), (0, 1)),
        scenes=SMALL,
        data_dir=folder,
        out=tmp_path / "out",
        device="cpu",
    )


def test_rows_of_other_versions_devices_or_runtimes_are_computed_anew(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = config.encoders
    encoder = FrameEncoder.from_name(name, (1,), device="cpu")

    def key(**changes: str) -> str:
        return dataclasses.replace(config, **changes).row_key(encoder, "depth")

    assert key() == key(out="elsewhere") == key(runtime="auto")
    keys = {key(), key(device="cuda")}
    monkeypatch.setattr(encoder.runtime, "name", "openvino")
    keys.add(key())
    monkeypatch.setattr("s2robot.analysis.probes.study.deciding_versions", lambda: {"torch": "0"})
    assert len({*keys, key()}) == 4


def test_every_variant_has_a_row_a_task(config: StudyConfig) -> None:
    tasks = ("localization", "depth")
    rows = Study(dataclasses.replace(config, tasks=tasks)).run()
    assert len(rows) == 2 + 2 * 2 * 2
    assert [get_task(row["task"]).name for row in rows[2:4]] == list(tasks)
    assert {(tuple(row["taps"]), tuple(row["scales"])) for row in rows[2:]} == {
        ((), (1,)), ((), (1, 2)), ((0, 1), (1,)), ((0, 1), (1, 2))
    }  # fmt: skip
    wide = rows[-1]
    assert wide["grid"] == [4, 4, 24 * 2 * 2]
    assert wide["enlarged"]  # 64 px of frames of 48
    assert wide["gflops"] == pytest.approx(5 * rows[2]["gflops"])
    for row in rows:
        measure = row["measures"][get_task(row["task"]).measures[0].name]
        assert measure["low"] <= measure["estimate"] <= measure["high"]
        assert len(row["sums"]) == row["test_episodes"] == 4


def test_a_row_agrees_with_its_stored_map(config: StudyConfig) -> None:
    """The sample of a dense row, judged by hand on the frames that it is of."""
    few = dataclasses.replace(config, tasks=("depth", "segmentation"), layers=((),))
    run = Study(dataclasses.replace(few, scale_sets=((1,),)))
    every = np.arange(len(run.parts.test))
    run.samples = every  # keep all of them
    depth, segments = run.run()[2:]
    test = run.parts.test
    predicted = np.load(run.sample_path(depth["key"]))
    rmse = np.sqrt(np.square(predicted - run.data.depth_m[test]).mean())
    assert depth["measures"]["RMSE [m]"]["estimate"] == pytest.approx(float(rmse), rel=1e-4)
    cube_predicted, cube = (
        np.load(run.sample_path(segments["key"])) == 4,
        run.data.segments[test] == 4,
    )
    share = (cube_predicted & cube).sum() / (cube_predicted | cube).sum()
    assert segments["measures"]["IoU cube"]["estimate"] == pytest.approx(share)
    assert depth["train_frames"] + depth["test_frames"] == len(run.data)


def test_differences_are_against_the_first_scale_set(config: StudyConfig) -> None:
    rows = Study(dataclasses.replace(config, tasks=("localization", "depth"))).run()
    found = differences(rows)
    assert [(d["task"], d["scales"], d["against"], d["taps"]) for d in found] == [
        ("localisation", [1, 2], [1], []),
        ("depth", [1, 2], [1], []),
        ("localisation", [1, 2], [1], [0, 1]),
        ("depth", [1, 2], [1], [0, 1]),
    ]
    before, after = (
        next(r for r in rows if r["task"] == "depth" and r["scales"] == scales)
        for scales in ([1], [1, 2])
    )
    change = [row["measures"]["RMSE [m]"]["estimate"] for row in (before, after)]
    assert found[1]["estimate"] == pytest.approx(change[1] - change[0])
    assert mark_of({"task": "depth", "low": 0.1, "high": 0.2}) == "!"
    assert mark_of({"task": "segmentation", "low": 0.1, "high": 0.2}) == "*"
    assert mark_of({"task": "depth", "low": -0.1, "high": 0.2}) == ""


def test_finished_rows_are_not_computed_again(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = dataclasses.replace(config, tasks=("localization", "depth"), layers=((),))
    before = Study(few).run()
    logged: list[str] = []

    def refuse(*_: Any, **__: Any) -> Outcome:
        raise RuntimeError("computed again")

    for name in ("inner_products", "choose"):
        monkeypatch.setattr(linear, name, refuse)
    monkeypatch.setattr(dense, "fit_depth", refuse)
    monkeypatch.setattr(scenes, "scene_data", refuse)
    assert Study(few, logged.append).run() == before
    assert all(line.endswith("(stored)") for line in logged)
    with pytest.raises(RuntimeError, match="computed again"):
        Study(dataclasses.replace(few, split_seed=1)).run()


def test_a_killed_run_continues(config: StudyConfig) -> None:
    """A torn line and a lost picture are made again; nothing else is."""
    few = dataclasses.replace(config, tasks=("localization", "depth"), layers=((),))
    first = Study(few)
    before = first.run()
    lines = first.path.read_bytes().splitlines(keepends=True)
    first.path.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    first.sample_path(next(r["key"] for r in before if r["task"] == "depth" and r["taps"] == []
                           and r["scales"] == [1])).unlink()  # fmt: skip
    logged: list[str] = []
    assert Study(few, logged.append).run() == before
    assert [line for line in logged if not line.endswith("(stored)")] == [logged[3], logged[5]]
    assert len(read_jsonl(first.path)) == len(before) + 1


def test_heads_of_several_seeds_are_averaged(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Head:
        def __init__(self, seed: int) -> None:
            self.seed = seed

        def errors_mm(self, embeddings: torch.Tensor, _: np.ndarray) -> np.ndarray:
            return np.full(len(embeddings), 10.0 + 2 * self.seed)

    monkeypatch.setattr("s2robot.analysis.probes.tasks.fit_localizer", lambda *args: Head(args[-1]))
    few = dataclasses.replace(
        config, tasks=("localization-head",), layers=((),), scale_sets=((1,),), head_seeds=3
    )
    row = Study(few).run()[-1]
    assert row["measures"]["mean error [mm]"]["estimate"] == 12
    assert row["details"] == {"seed_means_mm": [10, 12, 14], "seed_std_mm": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ("depths",)}, "unknown task 'depths'.*did you mean 'depth'"),
        ({"layers": ((9,),)}, r"has 2 layers, so indices lie in -2 to 1"),
        ({"scale_sets": ((1,), (1,))}, "each only once"),
        ({"scale_sets": ((0,),)}, "different positive numbers"),
        ({"encoders": ("no-such-vit",)}, "unknown backbone|unknown encoder|available"),
        ({"head_seeds": 0}, "head_seeds is 0"),
        ({"test_share": 1.0}, "test_share is 1.0"),
    ],
)
def test_impossible_studies(config: StudyConfig, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Study(dataclasses.replace(config, **change)).run()
    assert not config.out.exists()  # refused before any work


@pytest.mark.render
def test_too_few_episodes(config: StudyConfig) -> None:
    few = dataclasses.replace(SMALL, episodes=1, resets=0)
    with pytest.raises(ValueError, match="more episodes"):
        Study(dataclasses.replace(config, scenes=few)).run()


# --------------------------------------------------------------------------------------- command
def command_line(encoder: str, folder: Path, out: Path, *more: str) -> list[str]:
    small = ["--size", "48", "--label-size", "24", "--episodes", "8", "--resets", "8"]
    places = ["--data-dir", str(folder), "--out", str(out), "--device", "cpu"]
    return ["probe", encoder, "--scales", "1", "1,2", *small, *places, *more]


def test_the_command_writes_a_table_results_and_pictures(
    encoder: str, data: SceneData, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(data)
    tasks = ["--task", "localization", "segmentation", "depth"]
    assert s2robot(command_line(encoder, folder, tmp_path, "--layers", "-1", *tasks)) == 0
    shown = capsys.readouterr().out
    assert "mean error [mm] ↓" in shown
    assert "(no features)" in shown
    assert "layers -1" in shown
    assert "+ the largest scale exceeds the frames" in shown
    record = json.loads((tmp_path / "probes.json").read_text())
    assert len(record["rows"]) == 9
    assert len(record["differences"]) == 3
    assert record["provenance"]["versions"]["mujoco"]
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert "probes.png" in pictures
    assert len([name for name in pictures if name.startswith("predictions-")]) == 1


def test_grasps_are_predicted_from_grids_and_from_mean_tokens(config: StudyConfig) -> None:
    few = dataclasses.replace(config, tasks=("grasp",), layers=((),), scale_sets=((1,),))
    guess, row = Study(few).run()
    assert guess["measures"]["balanced accuracy"]["estimate"] == 0.5
    assert set(row["measures"]) == {
        "balanced accuracy", "balanced accuracy, mean token", "AUROC, grid", "AUROC, mean token"
    }  # fmt: skip
    assert row["measures"]["AUROC, grid"]["estimate"] > 0.6


@pytest.mark.render
def test_json_instead_of_a_table(
    encoder: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = command_line(encoder, folder, tmp_path, "--task", "localization", "--json")
    assert s2robot(command) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["scales"] for row in rows] == [[], [1], [1, 2]]
    assert s2robot([*command_line(encoder, folder, tmp_path), "--task", "dept"]) == 2
    assert "did you mean 'depth'" in capsys.readouterr().err


def test_every_damage_of_a_stored_row_is_noticed_or_harmless() -> None:
    row = {
        "key": "k",
        "task": "depth",
        "encoder": "e",
        "scales": [1.0, 2.0],
        "taps": [],
        "gflops": None,
        "measures": {
            measure.name: {"estimate": 0.5, "low": 0.4, "high": 0.6}
            for measure in get_task("depth").measures
        },
        "test_frames": 2,
        "test_episodes": 2,
        "sums": [[1.0, 2.0], [3.0, 4.0]],
    }
    assert is_whole(row)
    for damage, content in mutations(row):
        if isinstance(content, dict) and is_whole(content):
            assert describe(content), damage
            assert content["key"] is not None, damage
            assert np.array(content["sums"]).dtype.kind in "fi", damage


def test_a_damaged_row_is_an_error(config: StudyConfig) -> None:
    append_jsonl(config.out / "rows.jsonl", [{"key": "x"}])
    (config.out / "rows.jsonl").write_text("{broken\n")
    with pytest.raises(CorruptFileError, match="not JSON"):
        Study(config)


def test_the_time_left_is_that_of_new_variants() -> None:
    assert _progress(1, 4, []) == "1 of 4 variants"  # was stored
    assert _progress(2, 4, [30.0]) == "2 of 4 variants, 60 s left"
    assert _progress(4, 4, [30.0, 90.0]) == "4 of 4 variants"
