"""Reconstruction on frames: both passes against direct ones, and continuing after a kill."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_encoders import PIXELS, encoder_of, picture, scenes
from support.small_reconstruction import FULL, source, with_ones
from support.tiny_models import write_tiny_model
from torch.nn import functional

from s2robot.analysis.reconstruction import study as reconstruct_study
from s2robot.analysis.reconstruction.regression import (
    held_out,
)
from s2robot.analysis.reconstruction.sources import Source, common_grid, source_of, tokens_of
from s2robot.analysis.reconstruction.study import Study, StudyConfig, reconstruct
from s2robot.backbones import Backbone
from s2robot.backbones.architectures import vit_architecture
from s2robot.backbones.card import vit_card
from s2robot.cli.reconstruct import in_words
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import CorruptFileError, MismatchError, NonFiniteError

# ------------------------------------------------------------------------------------------ study


def by_numpy(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Weights and bias ``(Dx + 1, Dy)`` of least squares with a share of the variance as ridge."""
    std = x.std(axis=0)
    rows = np.concatenate([(x - x.mean(axis=0)) / std, np.sqrt(ridge * len(x)) * np.eye(len(std))])
    asked = np.concatenate([y - y.mean(axis=0), np.zeros((len(std), y.shape[1]))])
    weights = np.linalg.lstsq(rows, asked, rcond=None)[0] / std[:, None]
    return np.concatenate([weights, (y.mean(axis=0) - x.mean(axis=0) @ weights)[None]])


def second_pass(x: np.ndarray, y: np.ndarray, tested: np.ndarray) -> tuple[float, ...]:
    """l and l0 on training and on test frames, from all tokens (N, 16, C) at once."""
    learn_x, learn_y = x[~tested].reshape(-1, x.shape[2]), y[~tested].reshape(-1, y.shape[2])
    test_x, test_y = x[tested].reshape(-1, x.shape[2]), y[tested].reshape(-1, y.shape[2])
    solution = by_numpy(learn_x, learn_y, 1e-6)
    errors = [
        learn_y - with_ones(learn_x) @ solution,
        learn_y - learn_y.mean(axis=0),
        test_y - with_ones(test_x) @ solution,
        test_y - learn_y.mean(axis=0),
    ]
    return tuple(float(np.mean(np.square(error))) for error in errors)


def halved(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens ``(N, 8 · 8 · C)`` to the averages of four ``(N, 4 · 4 · C)``."""
    images = tokens.unflatten(1, (8, 8, -1)).permute(0, 3, 1, 2)
    return functional.avg_pool2d(images, 2).permute(0, 2, 3, 1).flatten(1)


@pytest.mark.parametrize("number, scales", enumerate([(1,), (1, 2), (2,)]))
def test_every_row_is_a_direct_second_pass(
    number: int, scales: tuple[int, ...], study: Study, shots: tuple[np.ndarray, np.ndarray]
) -> None:
    frames, blocks = shots
    alone = encoder_of("one prefix", scales=scales, **FULL)(frames)
    tokens = halved(alone) if scales == (2,) else alone  # as the base grid is that of scale 1
    target = encoder_of("registers", scales=(1,), **FULL)(frames)
    x, y = (part.unflatten(1, (16, -1)).double().numpy() for part in (tokens, target))
    expected = second_pass(x, y, held_out(blocks))
    row = study.rows[number]
    found = (row.train_loss, study.train_baseline, row.test_loss, study.test_baseline)
    assert (row.scales, row.width) == (scales, 24 * len(scales))
    assert np.allclose(found, expected, rtol=1e-4)
    train, test = (np.log2(expected[i + 1] / expected[i]) for i in (0, 2))
    assert row.train_information == pytest.approx(train, abs=2e-4)
    assert row.test_information.estimate == pytest.approx(test, abs=2e-4)


def test_a_study_counts_its_frames(study: Study) -> None:
    assert study.grid == (4, 4)
    assert (study.train_frames, study.test_frames, study.test_blocks) == (36, 12, 2)
    assert study.train_tokens == 36 * 16
    single, double, large, reference = study.rows
    assert single.gflops + large.gflops == pytest.approx(double.gflops)
    assert large.gflops == pytest.approx(4 * single.gflops)
    assert single.more_than_first.estimate == 0
    assert double.more_than_first.estimate == pytest.approx(
        double.test_information.estimate - single.test_information.estimate
    )
    assert double.train_loss < single.train_loss
    # the reference is the target itself here: all of it comes back
    assert reference.reference
    assert reference.train_information > 15
    assert (reference.train_ratio, reference.test_ratio.estimate) == (1.0, 1.0)  # pyright: ignore
    assert single.train_ratio == single.train_information / reference.train_information
    assert single.test_ratio is not None
    assert single.test_ratio.low <= single.test_ratio.estimate <= single.test_ratio.high


def test_without_a_reference_there_is_no_ratio(shots: tuple[np.ndarray, np.ndarray]) -> None:
    made = reconstruct(*shots, encoder_of("registers", scales=(1,), **FULL), [source()])
    assert made.rows[0].train_ratio is made.rows[0].test_ratio is None
    assert "no ratio" in in_words(made, "big")[-1]


def test_batches_do_not_matter_and_places_do(shots: tuple[np.ndarray, np.ndarray]) -> None:
    target = encoder_of("registers", scales=(1,), **FULL)
    few, many, own = (
        reconstruct(*shots, target, [source()], StudyConfig(batch=batch, per_place=place))
        for batch, place in ((3, False), (64, False), (16, True))
    )
    assert few.rows[0].train_loss == pytest.approx(many.rows[0].train_loss, rel=1e-6)
    assert few.rows[0].test_loss == pytest.approx(many.rows[0].test_loss, rel=1e-6)
    # by place: against the mean of each, from tokens themselves
    tested = held_out(shots[1])
    tokens = target(shots[0]).unflatten(1, (16, -1)).double().numpy()
    means = tokens[~tested].mean(axis=0)
    assert own.train_baseline == pytest.approx(np.mean((tokens[~tested] - means) ** 2), rel=1e-6)
    assert own.test_baseline == pytest.approx(np.mean((tokens[tested] - means) ** 2), rel=1e-6)


@pytest.mark.parametrize("tokens, width", [("cls", 24), ("mean", 24)])
def test_one_token_a_frame(
    tokens: str, width: int, shots: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    name = f"file:{write_tiny_model(tmp_path)}"
    made = source_of(name, [(1,), (1, 2)], tokens, device="cpu")
    study = reconstruct(*shots, source_of(name, tokens=tokens, device="cpu").encoder, [made])
    assert study.grid is None
    assert study.train_tokens == 36
    assert [row.width for row in study.rows] == [width, 2 * width]
    assert study.rows[0].train_information > 10  # the target itself


def coarse() -> FrameEncoder:
    """Of 2 x 2 tokens, where the other tiny models have 4 x 4."""
    card = vit_card("coarse", vit_architecture(32, 16, 24, 2, 2), PIXELS, "random")
    backbone = Backbone(card, card.architecture.build())
    spec = EncoderSpec("coarse", backbone.weights_digest, scales=(1,), **FULL)
    return FrameEncoder(spec, backbone, "cpu")


def test_grids_are_brought_to_the_coarsest_by_averages() -> None:
    fine = encoder_of("one prefix", scales=(1, 2), **FULL)
    grid = common_grid([fine, coarse()])
    assert grid == (2, 2)
    frames = picture(3, 64, 64)
    whole = fine(frames).unflatten(1, (4, 4, 48))
    tokens = tokens_of(fine, frames, grid).reshape(3, 2, 2, 48)
    for row in range(2):
        for column in range(2):
            cell = whole[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean(dim=(1, 2))
            assert np.allclose(tokens[:, row, column], cell, atol=1e-5)
    study = reconstruct(scenes(40, 64), np.arange(40) // 5, fine, [Source("c", coarse())])
    assert study.train_tokens == 30 * 4


def test_encoders_that_cannot_be_compared(shots: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(MismatchError, match=r"same readout.*\['grid', 'mean'\]"):
        reconstruct(*shots, encoder_of(geometry="full"), [source()])
    with pytest.raises(MismatchError, match=r"\['full', 'published'\]"):
        common_grid([source().encoder, encoder_of(readout="spatial_softmax")])
    with pytest.raises(ValueError, match="unknown tokens 'girds'.*did you mean 'grid'"):
        source_of("s2r-vitt16-128", tokens="girds")
    with pytest.raises(ValueError, match=r"scales \(3,\) must be different ones"):
        Source("a", encoder_of(**FULL), ((3,),))


def test_bad_studies(shots: tuple[np.ndarray, np.ndarray]) -> None:
    frames, blocks = shots
    target = source().encoder
    with pytest.raises(ValueError, match="one number for each of 48 frames; got 47"):
        reconstruct(frames, blocks[1:], target, [source()])
    with pytest.raises(ValueError, match="at least one source"):
        reconstruct(frames, blocks, target, [])
    with pytest.raises(ValueError, match="at most one reference"):
        reconstruct(frames, blocks, target, [source("one prefix", (1,), reference=True)] * 2)
    with pytest.raises(ValueError, match="never vary"):
        reconstruct(np.zeros_like(frames), blocks, target, [source()], StudyConfig(per_place=True))
    with torch.no_grad():
        broken = source()
        next(broken.encoder.backbone.model.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteError, match="features of frames"):
        reconstruct(frames, blocks, target, [broken])
    bad: dict[str, Any]
    for bad in ({"ridge": -1}, {"test_share": 1.0}, {"batch": 0}, {"save_every_s": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            StudyConfig(**bad)


# ------------------------------------------------------------------------------------------ resume
class Counted:
    """``tokens_of`` that remembers whom it encoded and stops after some calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: dict[str, int] = {}
        self.left = math.inf
        monkeypatch.setattr(reconstruct_study, "tokens_of", self)

    def __call__(self, encoder: FrameEncoder, frames: np.ndarray, grid: Any) -> np.ndarray:
        if self.left <= 0:
            raise KeyboardInterrupt
        self.left -= 1
        name = encoder.spec.backbone
        self.frames[name] = self.frames.get(name, 0) + len(frames)
        return tokens_of(encoder, frames, grid)


CONFIG = StudyConfig(batch=8, save_every_s=0)


@pytest.mark.parametrize("calls", [5, 10, 13])
def test_a_killed_study_continues(
    calls: int,
    shots: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, counted = encoder_of("registers", scales=(1,), **FULL), Counted(monkeypatch)
    whole = reconstruct(*shots, target, [source()], CONFIG)
    counted.left = calls
    with pytest.raises(KeyboardInterrupt):
        reconstruct(*shots, target, [source()], CONFIG, tmp_path)
    counted.frames, counted.left = {}, math.inf
    resumed = reconstruct(*shots, target, [source()], CONFIG, tmp_path)
    batches = calls // 2  # of the target and of the source in turn
    done = min(8 * batches, 36) + max(0, 8 * (batches - 5))
    assert counted.frames == {"registers": 48 - done, "one prefix": 48 - done}
    assert resumed.rows[0].test_loss == pytest.approx(whole.rows[0].test_loss, rel=1e-9)
    assert resumed.rows[0].train_loss == pytest.approx(whole.rows[0].train_loss, rel=1e-9)


def test_stored_results_are_not_encoded_again(
    shots: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, counted = encoder_of("registers", scales=(1,), **FULL), Counted(monkeypatch)
    first = reconstruct(*shots, target, [source()], CONFIG, tmp_path)
    counted.frames = {}
    assert reconstruct(*shots, target, [source()], CONFIG, tmp_path) == first
    assert counted.frames == {}
    both = reconstruct(*shots, target, [source(), source("registers")], CONFIG, tmp_path)
    assert counted.frames == {"registers": 96}  # as a source and as the target
    assert both.rows[0] == first.rows[0]
    counted.frames = {}
    other = StudyConfig(ridge=0.1, batch=8)
    assert reconstruct(*shots, target, [source()], other, tmp_path).rows[0] != first.rows[0]
    assert counted.frames == {"registers": 12, "one prefix": 12}  # test frames alone
    counted.frames = {}
    other = StudyConfig(per_place=True, batch=8)
    assert reconstruct(*shots, target, [source()], other, tmp_path).rows[0] != first.rows[0]
    assert counted.frames == {"registers": 12, "one prefix": 12}
    counted.frames = {}
    reconstruct(shots[0] // 2, shots[1], target, [source()], CONFIG, tmp_path)
    assert counted.frames == {"registers": 48, "one prefix": 48}


def test_results_of_other_versions_or_another_runtime_are_not_pooled(
    shots: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, counted = encoder_of("registers", scales=(1,), **FULL), Counted(monkeypatch)
    reconstruct(*shots, target, [source()], CONFIG, tmp_path)
    for name, value in (
        ("deciding_versions", lambda: {"torch": "0"}),
        ("FrameEncoder.inference", {"runtime": "another"}),
    ):
        counted.frames = {}
        with monkeypatch.context() as patched:
            patched.setattr(f"{reconstruct_study.__name__}.{name}", value)
            reconstruct(*shots, target, [source()], CONFIG, tmp_path)
        assert counted.frames == {"registers": 48, "one prefix": 48}


def test_a_damaged_file_is_an_error(shots: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    target = encoder_of("registers", scales=(1,), **FULL)
    reconstruct(*shots, target, [source()], CONFIG, tmp_path)
    kept = next(tmp_path.glob("moments-*.npz"))
    content = kept.read_bytes()
    kept.write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptFileError, match="delete it and run again"):
        reconstruct(*shots, target, [source()], CONFIG, tmp_path)
    with kept.open("wb") as file:
        np.savez(file, frames=np.array(36), count=np.array(576), mean=np.zeros(3))
    with pytest.raises(CorruptFileError, match="does not hold the arrays"):
        reconstruct(*shots, target, [source()], CONFIG, tmp_path)
