"""A variant's precision: chosen by speed, held to agreement on the frames, the same everywhere."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_models import tiny_variant, write_tiny_model

from s2robot.data.datasets.frame_reader import RecordedFrames
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import PrecisionWarning, S2RobotError
from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments import precision
from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.pipeline import evaluate_policy, execute_run, policy_folder
from s2robot.experiments.variant import Variant, VariantConfig
from s2robot.policies.checkpoint import read_header
from s2robot.policies.config import PolicyConfig
from s2robot.runtimes.precision import has_bfloat16
from s2robot.training.config import SearchConfig, TrainConfig
from s2robot.utils.io import read_json

Has = Callable[..., None]


class Noise:
    """Frames of noise, which counts how often they are read."""

    digest = "noise"

    def __init__(self, count: int = 20) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (count, 48, 48, 3), np.uint8)
        self.reads = 0

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> np.ndarray:
        self.reads += 1
        return self.images[start:stop]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Iterator[Has]:
    """Give the processor bfloat16 instructions or take them, and the faster precision."""

    def give(instructions: bool = True, faster: str = "bfloat16") -> None:
        monkeypatch.delenv("S2ROBOT_DTYPE", raising=False)
        monkeypatch.setattr(precision, "has_bfloat16", lambda: instructions)
        monkeypatch.setattr(precision, "faster_dtype", lambda *_: faster)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"bfloat16 takes .* times")
        yield give


def encoder(card: Path, readout: str = "mean", dtype: str = "auto") -> FrameEncoder:
    return FrameEncoder.from_name(
        f"file:{card}", (1,), readout, device="cpu", dtype=dtype, runtime="eager"
    )


def chosen(card: Path, folder: Path, dtype: str = "auto", readout: str = "mean") -> str:
    frames = Noise()
    made = encoder(card, readout, dtype)
    return precision.with_precision(made, dtype, "eager", lambda: frames, folder)[0].spec.dtype


@pytest.mark.parametrize(
    "instructions, faster, expected",
    [
        (True, "bfloat16", "bfloat16"),
        (True, "float32", "float32"),
        (False, "bfloat16", "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it_and_is_faster(
    card: Path, tmp_path: Path, has: Has, instructions: bool, faster: str, expected: str
) -> None:
    has(instructions, faster)
    assert chosen(card, tmp_path) == expected


def test_what_is_asked_for_and_published_outputs_keep_their_precision(
    card: Path, tmp_path: Path, has: Has
) -> None:
    has()
    assert chosen(card, tmp_path, "float32") == "float32"
    assert chosen(card, tmp_path, readout="published") == "float32"
    has(faster="float32")
    assert chosen(card, tmp_path, "bfloat16") == "bfloat16"


def test_processors_are_known_by_their_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, expected in (({"avx2", "avx512f"}, False), ({"amx_bf16"}, True), ({"bf16"}, True)):
        monkeypatch.setattr("s2robot.runtimes.precision.cpu_flags", lambda f=flags: frozenset(f))
        assert has_bfloat16() is expected


def test_agreement_is_that_of_the_frames(card: Path, has: Has) -> None:
    has()
    low, frames = encoder(card, dtype="bfloat16"), Noise(9)
    found = precision.agreement(low, frames)
    images = frames.images[[0, 1, 2, 3, 5, 6, 7, 8]]
    expected = encoder(card, dtype="float32")(images)
    gap = (low(images) - expected).norm(dim=1) / expected.norm(dim=1)
    assert found.frames == 8
    assert found.difference_largest == pytest.approx(float(gap.max()))
    assert 0 < found.difference_largest < 0.02
    assert found.cosine_least == pytest.approx(1 - float(gap.max()) ** 2 / 2, abs=1e-4)


def test_auto_falls_back_with_a_warning_where_bfloat16_is_not_close(
    card: Path, tmp_path: Path, has: Has, monkeypatch: pytest.MonkeyPatch
) -> None:
    has()
    monkeypatch.setattr(precision, "LARGEST_DIFFERENCE", 1e-6)
    with pytest.warns(PrecisionWarning, match="on 8 frames: cosine .* computes in float32"):
        assert chosen(card, tmp_path) == "float32"
    with pytest.warns(PrecisionWarning, match="dtype=bfloat16 is kept, as asked for"):
        assert chosen(card, tmp_path, "bfloat16") == "bfloat16"


class Recorded:
    """Ten recorded episodes of noise, which counts the frames that are decoded."""

    source, digest, cameras = "noise.hdf5", "noise", {"front": (48, 48)}
    episode_ends = np.arange(1, 11) * 3

    def __init__(self) -> None:
        self.images, self.decoded = Noise(30).images, 0

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        for number in range(3 * episode, 3 * episode + 3):
            self.decoded += 1
            yield self.images[number]


def test_comparison_on_recorded_frames_decodes_none_twice(card: Path, has: Has) -> None:
    has()
    data: Any = Recorded()
    frames = RecordedFrames(data, "front")
    low = encoder(card, dtype="bfloat16")
    assert precision.agreement(low, frames).frames == 8
    assert data.decoded == 8  # the first frames of eight episodes
    assert np.array_equal(frames.read(0, 30), data.images)
    assert data.decoded == 30


def test_embeddings_that_are_not_finite_are_not_close(card: Path, has: Has) -> None:
    has()
    low = encoder(card, dtype="bfloat16")
    run = low.runtime
    low.runtime = _NotFinite(run)  # pyright: ignore[reportAttributeAccessIssue]
    assert not precision.agreement(low, Noise()).is_close


class _NotFinite:
    name, exact = "eager", True

    def __init__(self, runtime: Callable) -> None:
        self.runtime = runtime

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        return self.runtime(tiles) * float("nan")


def test_a_comparison_is_made_once_for_the_same_frames(
    card: Path, tmp_path: Path, has: Has
) -> None:
    has()
    frames, made = Noise(), encoder(card, dtype="bfloat16")
    given = (made, "bfloat16", "eager", lambda: frames, tmp_path)
    assert precision.with_precision(*given) == precision.with_precision(*given)
    assert frames.reads == 8
    frames.digest = "others"
    precision.with_precision(*given)
    assert frames.reads == 16


@pytest.fixture
def job(card: Path, tmp_path: Path) -> RunJob:
    variant = tiny_variant(card, tmp_path / "data")
    policy, train = PolicyConfig(hidden=(8,)), TrainConfig(epochs=1)
    training = TrainJob(variant, policy, train, search=None, runs_dir=tmp_path / "runs")
    return RunJob(training, n=2, rollout=EvalConfig(num_envs=2, horizon=2, videos=0))


def run(job: RunJob) -> Path:
    execute_run(job, log=lambda _: None)
    [folder] = (job.train.runs_dir / "cells").glob("*/")
    return folder


@pytest.mark.render
def test_features_policy_and_rollouts_of_a_run_have_one_precision(
    job: RunJob, has: Has, capsys: pytest.CaptureFixture
) -> None:
    has()
    folder = run(job)
    assert read_header(folder / "policy.safetensors").encoder["dtype"] == "bfloat16"
    assert read_json(folder / "run.json")["inference"]["dtype"] == "bfloat16"
    stored = (job.train.variant.data_dir / "features").glob("*/*.json")
    keys = [text for text in (path.read_text() for path in stored) if "dtype" in text]
    assert keys
    assert all('"bfloat16"' in text for text in keys)
    assert read_json(folder / "cell.json")["agreement"]["dtype"] == "bfloat16"
    assert "bfloat16 against float32 on 8 frames: cosine" in capsys.readouterr().out


@pytest.mark.render
def test_a_sweep_that_asks_for_bfloat16_rolls_out_in_it_where_it_is_slower(
    job: RunJob, has: Has
) -> None:
    has(instructions=False, faster="float32")
    asked = dataclasses.replace(job.train.variant, dtype="bfloat16")
    job = dataclasses.replace(job, train=dataclasses.replace(job.train, variant=asked))
    assert read_json(run(job) / "run.json")["inference"]["dtype"] == "bfloat16"


@pytest.mark.render
@pytest.mark.parametrize("search", [None, SearchConfig(trials=1, epochs=1)])
def test_a_head_that_is_trained_in_bfloat16_is_another_run_whose_file_says_so(
    job: RunJob,
    capsys: pytest.CaptureFixture,
    search: SearchConfig | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked for alone: variants that are compared do not differ by the size of their grids."""
    monkeypatch.setattr("s2robot.training.precision.PREPARED_BYTES", 0)
    monkeypatch.setattr("s2robot.training.precision.has_bfloat16", lambda: True)
    grids = dataclasses.replace(job.train.variant, readout="spatial_softmax", dtype="float32")
    found = {}
    for dtype in ("auto", "float32", "bfloat16"):
        config = dataclasses.replace(job.train.train, dtype=dtype)
        training = dataclasses.replace(job.train, variant=grids, train=config, search=search)
        folder = policy_folder(training, Variant(grids))
        execute_run(dataclasses.replace(job, train=training), log=lambda _: None)
        header, cell = read_header(folder / "policy.safetensors"), read_json(folder / "cell.json")
        found[dtype] = (folder, header.train["dtype"], cell["settings"]["train"].get("dtype"))
        assert ("in bfloat16, with weights in float32" in capsys.readouterr().out) == (
            dtype == "bfloat16"
        )
    assert found["auto"] == found["float32"]
    assert found["auto"][1:] == ("float32", None)
    assert found["bfloat16"][1:] == ("bfloat16", "bfloat16")
    assert found["bfloat16"][0] != found["auto"][0]


@pytest.mark.render
def test_float32_runs_are_described_as_before(job: RunJob, has: Has) -> None:
    has(instructions=False)
    folder = run(job)
    assert "agreement" not in json.loads((folder / "cell.json").read_text())
    assert not (job.train.variant.data_dir / "precision").exists()


@pytest.mark.render
def test_rollouts_on_a_processor_without_bfloat16_say_what_they_compute(
    job: RunJob, has: Has, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    has()
    path = run(job) / "policy.safetensors"
    has(instructions=False)
    monkeypatch.setattr(FrameEncoder, "faster_dtype", lambda *_: "float32")
    out = path.parent / "elsewhere"
    other = EvalJob(
        path,
        n=2,
        rollout=job.rollout,
        out=out,
        device="cpu",
        runtime="eager",
        data_dir=job.train.variant.data_dir,
    )
    evaluate_policy(other)
    printed = " ".join(capsys.readouterr().out.split())
    assert "encoder in float32, while the policy was trained on features in bfloat16" in printed
    assert "no bfloat16 instructions; dtype=bfloat16 computes as in training" in printed
    assert read_json(out / "run.json")["inference"]["dtype"] == "float32"


def test_a_variant_without_pixels_has_no_precision(tmp_path: Path, has: Has) -> None:
    has()
    variant = Variant(VariantConfig(level="easy", encoder="blind", data_dir=tmp_path))
    assert variant.encoder is None
    assert variant.agreement is None


@pytest.mark.parametrize(("value", "expected"), [("float32", False), ("", True)])
def test_a_variable_of_the_environment_keeps_float32(
    card: Path, has: Has, monkeypatch: pytest.MonkeyPatch, value: str, expected: bool
) -> None:
    has()
    monkeypatch.setenv("S2ROBOT_DTYPE", value)
    assert precision.is_faster_in_bfloat16(encoder(card), "eager") is expected


def test_another_value_of_the_variable_is_refused(
    card: Path, has: Has, monkeypatch: pytest.MonkeyPatch
) -> None:
    has()
    monkeypatch.setenv("S2ROBOT_DTYPE", "bf16")
    with pytest.raises(S2RobotError, match="S2ROBOT_DTYPE is 'bf16'; allowed: float32"):
        precision.is_faster_in_bfloat16(encoder(card), "eager")
