"""A recommendation on small data: latency, errors, skipped candidates, continuing after a kill."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.moving_spots import spots
from support.tiny_models import write_tiny_model

from s2robot.analysis.recommend import (
    EpisodeData,
    Recommendation,
    RecommendConfig,
    probing,
    recommend,
    study,
    timing,
)
from s2robot.analysis.recommend.choice import Errors
from s2robot.analysis.recommend.plot import draw
from s2robot.analysis.recommend.results import Candidate
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import DownloadError


@pytest.fixture(scope="module", autouse=True)
def short_trainings() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr(probing, "EPOCHS", 2)
    patch.setattr(timing, "FRAMES", 4)
    patch.setattr(timing, "LEAST_FRAMES", 2)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recommend")


@pytest.fixture(scope="module")
def data() -> EpisodeData:
    return spots(episodes=10, steps=6, size=64)


@pytest.fixture(scope="module")
def config(folder: Path) -> RecommendConfig:
    return RecommendConfig(
        deadline_ms=60_000,
        encoders=(f"file:{write_tiny_model(folder)}",),
        scale_sets=((1.0,), (1.0, 2.0)),
        device="cpu",
        runtime="eager",
        with_head=True,
        data_dir=folder / "data",
        out=folder / "out",
    )


@pytest.fixture(scope="module")
def found(config: RecommendConfig, data: EpisodeData) -> Recommendation:
    return recommend(data, config)


def test_a_candidate_is_named_with_its_error_latency_and_the_rest(found: Recommendation) -> None:
    assert found.choice is not None
    assert found.metric == "action-linear"  # ranks as rollouts do: benchmarks/recommend.py
    assert found.headline.startswith(f"Take {found.choice.label}: action error of a linear probe")
    assert any(line.startswith("More scales or another encoder?") for line in found.reasons)
    for candidate in found.candidates:
        assert set(candidate.errors) == {"action", "action-linear", "localization"}
        assert candidate.errors["action"].values.shape == (probing.SEEDS, 10)
        assert candidate.errors["localization"].values.shape == (1, 10)
        assert 0 < candidate.latency.p50_ms <= candidate.latency.p95_ms
        assert candidate.latency.runtime == "eager"


def test_the_head_is_trained_only_where_it_decides_or_is_asked_for(
    config: RecommendConfig, data: EpisodeData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    short = dataclasses.replace(config, with_head=False, scale_sets=((1.0,),), out=tmp_path)
    monkeypatch.setattr(probing, "EPOCHS", 10)  # enough to learn from so many episodes
    by_head = recommend(spots(episodes=36), dataclasses.replace(short, metric="action"))
    assert by_head.headline.startswith(f"Take {by_head.candidates[0].label}: action error of a sm")
    assert set(by_head.candidates[0].errors) == {"action-linear", "localization", "action"}
    assert "and the trainings of the head" in " ".join(by_head.reasons)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("trained a head")

    monkeypatch.setattr(probing, "fit_many", refuse)
    found = recommend(data, dataclasses.replace(short, out=tmp_path / "without"))
    assert set(found.candidates[0].errors) == {"action-linear", "localization"}
    assert "trainings of the head" not in " ".join(found.reasons)


def test_another_error_by_which_the_choice_is_behind_is_told(found: Recommendation) -> None:
    first, second = found.candidates
    fold = first.errors["localization"].fold

    def with_errors(candidate: Candidate, linear: float, mm: float) -> Candidate:
        spread = np.linspace(-0.01, 0.01, len(fold))[None]
        values = {"action-linear": linear + spread, "localization": mm + spread[:, ::-1]}
        errors = {name: Errors(each, fold) for name, each in values.items()}
        return dataclasses.replace(candidate, errors=errors)

    apart = (with_errors(first, 20, 14), with_errors(second, 21, 12.5))
    told = " ".join(dataclasses.replace(found, candidates=apart).reasons)
    assert f"By localization it would be {second.label}, ahead by 1.50 mm (" in told
    same = (with_errors(first, 20, 14), with_errors(second, 21, 15))
    assert "it would be" not in " ".join(dataclasses.replace(found, candidates=same).reasons)


def test_the_record_is_json_with_every_candidate_and_the_machine(found: Recommendation) -> None:
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [each["label"] for each in record["candidates"]] == [c.label for c in found.candidates]
    assert sum(each["difference"] is None for each in record["candidates"]) == 1
    assert record["provenance"]["machine"]["processor"]


def test_localization_finds_a_spot_that_the_features_show(
    data: EpisodeData, found: Recommendation
) -> None:
    assert data.positions_m is not None
    blind_mm = 1000 * np.linalg.norm(data.positions_m - data.positions_m.mean(axis=0), axis=1)
    assert min(c.errors["localization"].mean for c in found.candidates) < 0.8 * blind_mm.mean()


def test_a_second_call_computes_nothing_again(
    config: RecommendConfig,
    data: EpisodeData,
    found: Recommendation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr(study, "time_encoder", refuse)
    monkeypatch.setattr(study, "errors_of", refuse)
    monkeypatch.setattr(FrameEncoder, "encode_scales", refuse)
    again = recommend(data, config)
    assert again.headline == found.headline


def test_damaged_rows_are_computed_again(
    config: RecommendConfig, data: EpisodeData, found: Recommendation, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (config.out / "rows.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("latency", None)
        if "errors" in row:
            row["errors"] = [each[:-1] for each in row["errors"]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = recommend(data, dataclasses.replace(config, out=tmp_path))
    for mine, other in zip(again.candidates, found.candidates, strict=True):
        assert mine.errors["localization"].mean == pytest.approx(other.errors["localization"].mean)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2 * len(rows)


def test_each_scale_of_an_encoder_is_encoded_once(
    config: RecommendConfig, data: EpisodeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[tuple[float, int]] = []
    whole = FrameEncoder.encode_scales

    def counted(self: FrameEncoder, frames: Any, scales: Any = None) -> Any:
        encoded.extend((scale, len(frames)) for scale in scales or ())
        return whole(self, frames, scales)

    monkeypatch.setattr(FrameEncoder, "encode_scales", counted)
    recommend(data, dataclasses.replace(config, data_dir=tmp_path, out=tmp_path / "out"))
    assert sorted(encoded) == [(1.0, 60), (2.0, 60)]


def test_candidates_that_miss_the_deadline_are_not_probed_unless_asked(
    config: RecommendConfig, data: EpisodeData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def timed(encoder: FrameEncoder, _: np.ndarray) -> timing.Latency:
        ms = 10.0 * len(encoder.spec.scales)
        return timing.Latency(ms, ms, 4, "eager", "cpu")

    monkeypatch.setattr(study, "time_encoder", timed)
    short = dataclasses.replace(config, deadline_ms=15, out=tmp_path)
    found = recommend(data, short)
    assert [bool(c.errors) for c in found.candidates] == [True, False]
    assert found.choice is found.candidates[0]
    assert found.not_told_apart == []
    assert found.headline.endswith("; no other candidate is within 15 ms")
    every = recommend(data, dataclasses.replace(short, probe_all=True))
    assert all(c.errors for c in every.candidates)
    assert every.choice is every.candidates[0]


def test_a_deadline_that_nothing_meets_names_the_nearest_and_how_much_is_missing(
    config: RecommendConfig, data: EpisodeData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    latencies = iter([timing.Latency(8, 9.5, 4, "eager", "cpu"), timing.Latency(20, 21, 4, "", "")])
    monkeypatch.setattr(study, "time_encoder", lambda *_: next(latencies))
    found = recommend(data, dataclasses.replace(config, deadline_ms=5, out=tmp_path))
    assert found.choice is None
    assert found.headline.startswith("No candidate meets 5 ms: the nearest is ")
    assert found.headline.endswith("(1) with 9.5 ms at p95, 4.5 ms too slow")


def test_bare_frames_tell_only_the_latency(config: RecommendConfig, data: EpisodeData) -> None:
    bare = EpisodeData("camera", data.frames, data.digest)
    found = recommend(bare, config)
    assert (found.choice, found.metric, found.frames) == (None, None, 0)
    assert found.headline.startswith("No choice: camera has neither actions nor positions")
    with pytest.raises(ValueError, match="metric is action, but camera has no actions"):
        recommend(bare, dataclasses.replace(config, metric="action"))


def test_weights_that_cannot_be_had_are_named_and_the_others_go_on(
    config: RecommendConfig, data: EpisodeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = FrameEncoder.from_name

    def offline(name: str, *arguments: Any, **options: Any) -> FrameEncoder:
        if name == "efficientnet-lite0":
            raise DownloadError("cannot get it: offline")
        return made(name, *arguments, **options)

    monkeypatch.setattr(FrameEncoder, "from_name", offline)
    more = dataclasses.replace(config, encoders=("efficientnet-lite0", *config.encoders))
    found = recommend(data, more)
    assert found.skipped == {"efficientnet-lite0": "cannot get it: offline"}
    assert found.choice is not None
    with pytest.raises(DownloadError, match="the weights of no candidate can be had"):
        recommend(data, dataclasses.replace(config, encoders=("efficientnet-lite0",)))


def test_impossible_candidates_are_refused_before_any_work(
    config: RecommendConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_opened", lambda *_: pytest.fail("worked"))
    with pytest.raises(ValueError, match="unknown backbone"):
        recommend("noise", dataclasses.replace(config, encoders=("no-such",)))
    with pytest.raises(ValueError, match="tile"):
        recommend("noise", dataclasses.replace(config, scale_sets=((1.0, 40.0),)))


def test_frames_are_timed_in_the_size_of_the_camera(
    config: RecommendConfig, data: EpisodeData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shapes = []

    def timed(_: FrameEncoder, frames: np.ndarray) -> timing.Latency:
        shapes.append(frames.shape[1:])
        return timing.Latency(1, 1, 4, "eager", "cpu")

    monkeypatch.setattr(study, "time_encoder", timed)
    recommend(data, dataclasses.replace(config, frame=(48, 80), out=tmp_path))
    assert set(shapes) == {(48, 80, 3)}


@pytest.mark.parametrize(
    "deadline_ms, text", [(1000 / 30, "33.3 ms"), (2000, "2000 ms"), (0.5, "0.5 ms")]
)
def test_a_deadline_is_written_without_exponents(
    found: Recommendation, deadline_ms: float, text: str
) -> None:
    assert dataclasses.replace(found, deadline_ms=deadline_ms).deadline_text == text


def test_the_picture_is_written_where_there_are_errors(
    found: Recommendation, tmp_path: Path
) -> None:
    draw(tmp_path / "a.png", found)
    draw(tmp_path / "b.png", dataclasses.replace(found, metric=None))
    assert (tmp_path / "a.png").exists()
    assert not (tmp_path / "b.png").exists()


def test_a_fold_holds_whole_episodes_and_all_folds_are_used() -> None:
    episode = np.repeat(np.arange(10), 3)
    fold = probing.folds_of(episode)
    assert all(len(set(fold[episode == number])) == 1 for number in range(10))
    assert np.bincount(fold[::3]).tolist() == [4, 3, 3]
