"""Rollouts in int8: they stay int8 where frames fit, and fall back as a whole where not."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_encoders import picture
from support.tiny_models import tiny_variant, write_tiny_model

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import CalibrationWarning, MismatchError, UnfitFramesError
from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments import int8_rollouts, precision
from s2robot.experiments.jobs import EvalJob, TrainJob
from s2robot.experiments.pipeline import evaluate_policy, train_run
from s2robot.experiments.variant import Variant
from s2robot.policies.checkpoint import read_header
from s2robot.policies.config import PolicyConfig
from s2robot.runtimes import live_check
from s2robot.runtimes.live_check import LiveCheck
from s2robot.training.seed_trainer import TrainConfig
from s2robot.utils.io import read_json, read_jsonl

pytestmark = pytest.mark.render
INT8 = "openvino-int8"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A policy on a tiny encoder, and its demonstrations' frames."""
    folder = tmp_path_factory.mktemp("trained")
    variant = tiny_variant(write_tiny_model(folder), folder / "data")
    policy, train = PolicyConfig(hidden=(8,)), TrainConfig(epochs=1)
    job = TrainJob(variant, policy, train, search=None, runs_dir=folder / "runs")
    inputs = Variant(variant)
    return train_run(job, inputs), inputs.frames.read(0, len(inputs.frames))


@pytest.fixture
def job(trained: tuple[Path, np.ndarray], tmp_path: Path, fresh_home: Path) -> EvalJob:
    path, _ = trained
    rollout = EvalConfig(num_envs=2, workers=0, horizon=4, videos=0)
    out, data = tmp_path / "out", path.parents[3] / "data"
    return EvalJob(path, n=4, rollout=rollout, out=out, device="cpu", runtime=INT8, data_dir=data)


@pytest.fixture(scope="module")
def calibrations(
    trained: tuple[Path, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> dict[bool, tuple[str, Path]]:
    """Identity and home of a calibration on the task's frames (True) and on others."""
    path, frames = trained
    spec = EncoderSpec.from_dict(read_header(path).encoder)
    made = {}
    for on_the_task, images in {True: frames, False: picture(24, 32, 32) // 4}.items():
        own = tmp_path_factory.mktemp("home")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("S2ROBOT_HOME", str(own))
            encoder = FrameEncoder.from_spec(spec, device="cpu", runtime="eager")
            (record,) = encoder.calibrate(images).values()
        made[on_the_task] = (record.identity, own)
    return made


@pytest.fixture
def calibrated(
    calibrations: dict[bool, tuple[str, Path]], fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bool], str]:
    """Calibrate int8 on the task's frames or on others; returns the identity."""

    def calibrate(on_the_task: bool) -> str:
        identity, own = calibrations[on_the_task]
        shutil.copytree(own / "int8", fresh_home / "int8")
        if on_the_task:  # the few frames do not span the ranges of an untrained policy's episodes
            monkeypatch.setattr(live_check, "TILES_LIMIT", 0.9)
        return identity

    return calibrate


def inference(job: EvalJob) -> tuple[str, str]:
    record = read_json(folder(job) / "run.json")["inference"]
    return record["runtime"]["name"], record["dtype"]


def folder(job: EvalJob) -> Path:
    assert job.out is not None
    return job.out


def remark(job: EvalJob) -> dict[str, Any] | None:
    return read_json(folder(job) / "run.json").get("int8_fallback")


def rows(job: EvalJob) -> list[dict[str, Any]]:
    return read_jsonl(folder(job) / "episodes.jsonl")


def plain(job: EvalJob, tmp_path: Path, runtime: str = "auto") -> EvalJob:
    return dataclasses.replace(job, out=tmp_path / "plain", runtime=runtime)


def test_frames_that_fit_are_rolled_out_in_int8(job: EvalJob, calibrated: Callable) -> None:
    identity = calibrated(True)
    evaluate_policy(dataclasses.replace(job, runtime=f"{INT8}:{identity[:6]}"))
    assert inference(job) == (INT8, "float32")
    assert remark(job) is None
    assert len(rows(job)) == 4


def test_frames_that_do_not_fit_from_the_start_are_rolled_out_in_float32(
    job: EvalJob, calibrated: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    identity = calibrated(False)
    evaluate_policy(job)
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{INT8}:{identity} does not fit the frames of this task" in printed
    assert "int8_fallback=false keeps int8" in printed
    found = remark(job)
    assert found is not None
    assert (found["asked"], found["taken"]) == (f"{INT8}:{identity}", "float32")
    assert "before the run" in found["why"]
    evaluate_policy(plain(job, tmp_path))
    assert rows(job) == rows(plain(job, tmp_path))
    assert inference(job) == inference(plain(job, tmp_path))


def test_the_fallback_is_bfloat16_where_the_processor_has_it(
    job: EvalJob, calibrated: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated(False)
    monkeypatch.delenv("S2ROBOT_DTYPE")
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "faster_dtype", lambda *_: "bfloat16")
    monkeypatch.setattr("s2robot.encoder.tile_encoder.warn_if_slow", lambda *_: None)
    evaluate_policy(job)
    assert inference(job)[1] == "bfloat16"
    monkeypatch.setattr(precision, "LARGEST_DIFFERENCE", 0.0)
    evaluate_policy(dataclasses.replace(job, fresh=True))
    assert inference(job)[1] == "float32"


def misfit_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let live frames stop fitting after some calls of the encoder."""
    seen = iter(range(10**6))

    def check(self: LiveCheck, *_: object) -> None:
        if self.refuses and next(seen) >= calls:
            raise UnfitFramesError("they do not fit", 0.5)

    monkeypatch.setattr(LiveCheck, "__call__", check)


def test_frames_that_stop_fitting_in_mid_run_start_the_whole_run_again(
    job: EvalJob,
    calibrated: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    calibrated(True)
    evaluate_policy(plain(job, tmp_path))
    misfit_after(6, monkeypatch)
    evaluate_policy(job)
    assert "50% of tiles, in mid-run" in " ".join(capsys.readouterr().out.split())
    assert rows(job) == rows(plain(job, tmp_path))
    assert inference(job)[0] != INT8
    aside = read_jsonl(folder(job) / "episodes.int8.jsonl")
    assert [row["index"] for row in aside] == [0, 1]
    assert read_json(folder(job) / "run.int8.json")["inference"]["runtime"]["name"] == INT8


def test_a_fallback_that_was_killed_goes_on_as_it_began(
    job: EvalJob, calibrated: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated(True)
    misfit_after(6, monkeypatch)
    evaluate_policy(job)
    whole, written = rows(job), (folder(job) / "run.json").read_bytes()
    for name in ("summary.json", "eval_info.json"):
        (folder(job) / name).unlink()
    path = folder(job) / "episodes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    monkeypatch.setattr(int8_rollouts, "StatesFrames", lambda *_: pytest.fail("checked again"))
    evaluate_policy(job)
    assert rows(job) == whole
    assert (folder(job) / "run.json").read_bytes() == written


def test_int8_that_was_killed_goes_on_in_int8(
    job: EvalJob, calibrated: Callable, tmp_path: Path
) -> None:
    calibrated(True)
    evaluate_policy(dataclasses.replace(job, n=2))
    evaluate_policy(job)
    assert inference(job)[0] == INT8
    assert [row["index"] for row in rows(job)] == [0, 1, 2, 3]


def test_an_int8_run_that_exists_is_not_continued_in_another_precision(
    job: EvalJob, calibrated: Callable
) -> None:
    identity = calibrated(False)
    insisting = dataclasses.replace(job, int8_fallback=False)
    with pytest.warns(CalibrationWarning, match=f"calibration {identity}"):
        evaluate_policy(insisting)
    assert inference(job)[0] == INT8
    assert remark(job) is None
    before = rows(job)
    with pytest.raises(MismatchError, match=r"inference\.runtime"):
        evaluate_policy(dataclasses.replace(job, n=6))
    assert rows(job) == before
