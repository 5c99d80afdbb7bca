"""The mean that needs no camera: its error, and what follows where nothing is better."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from s2robot.analysis.recommend import EpisodeData, Recommendation, probing, timing
from s2robot.analysis.recommend.choice import Errors
from s2robot.analysis.recommend.episodes import EpisodeArrays
from s2robot.analysis.recommend.plot import draw
from s2robot.analysis.recommend.results import Candidate

EPISODES = 24
FOLD = np.arange(EPISODES) % 3
MEAN = Errors(100 + np.random.default_rng(9).normal(size=(1, EPISODES)), FOLD)


def errors(difference: float, spread: float = 3.0, seed: int = 0) -> Errors:
    """Errors of a candidate that differ from those of the mean by so much in the mean."""
    noise = np.random.default_rng(seed).normal(size=(1, EPISODES))
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return Errors(MEAN.values + difference + spread * noise, FOLD)


def candidate(number: int, found: Errors, metric: str = "action-linear") -> Candidate:
    latency = timing.Latency(9.0, 10.0 + number, 4, "eager", "cpu")
    return Candidate(f"encoder{number}", (1.0,), 1.0, 1, latency, {metric: found})


def recommendation(*found: Errors, **changes: Any) -> Recommendation:
    metric = changes.get("metric", "action-linear")
    made = Recommendation(
        source="mine",
        deadline_ms=50,
        frame=(32, 32),
        frames=4 * EPISODES,
        episodes=EPISODES,
        metric=metric,
        candidates=tuple(candidate(i, each, metric) for i, each in enumerate(found)),
        skipped={},
        seconds=1.0,
        provenance={},
        constant={metric: MEAN},
    )
    return dataclasses.replace(made, **changes)


# ------------------------------------------------------------------------------------ the error
@pytest.fixture
def data() -> EpisodeData:
    """Nine episodes of two moments with values 0, 3 and 9 in the three folds."""
    values = np.array([0.0, 3.0, 9.0])[probing.folds_of(np.arange(9))]
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    return EpisodeData.from_episodes(
        "values",
        [
            EpisodeArrays(
                frames,
                actions=np.full((2, 2), (value, 7.0)),  # the second never changes
                positions_m=np.full((2, 2), (0.003 * value, 0.004 * value)),
            )
            for value in values
        ],
    )


@pytest.mark.parametrize("metric", ["action-linear", "action"])
def test_the_mean_action_of_the_other_folds_has_its_error_in_percent_of_std(
    metric: str, data: EpisodeData
) -> None:
    # Means of the others are 6, 4.5 and 1.5, and the values' variance is (16 + 1 + 25) / 3.
    expected = 100 * np.array([6.0, 1.5, 7.5]) / math.sqrt(14)
    found = probing.constant_errors(metric, data)
    np.testing.assert_allclose(found, expected[None, probing.folds_of(np.arange(9))])


def test_the_mean_position_of_the_other_folds_has_its_distance_in_mm(data: EpisodeData) -> None:
    expected = np.array([30.0, 7.5, 37.5])  # 3, 4, 5
    found = probing.constant_errors("localization", data)
    np.testing.assert_allclose(found, expected[None, probing.folds_of(np.arange(9))])


# ---------------------------------------------------------------------------------- what follows
def test_no_choice_follows_where_the_best_is_not_shown_to_be_better() -> None:
    found = recommendation(errors(-0.5, seed=1), errors(1, seed=2))
    assert (found.better_than_constant, found.is_told) == (False, False)
    assert found.headline.startswith(
        "No choice follows: the least error is that of encoder0 (1), action error of a linear "
        f"probe {MEAN.mean - 0.5:.1f} % of std ("
    )
    told = f"not shown to be below the {MEAN.mean:.1f} % of std of the mean action, which needs no"
    assert told in found.headline
    assert "Without a camera" not in " ".join(found.reasons)
    record = found.to_dict()
    assert (record["choice"], record["better_than_constant"]) == (None, False)
    assert record["constant"]["action-linear"]["estimate"] == pytest.approx(MEAN.mean)
    assert record["constant"]["action-linear"]["unit"] == "% of std"


def test_a_choice_tells_what_one_would_have_without_a_camera() -> None:
    found = recommendation(errors(-20, seed=1), errors(-10, seed=2))
    assert (found.better_than_constant, found.is_told) == (True, True)
    assert found.headline.startswith("Take encoder0 (1): ")
    assert found.reasons[0] == (
        f"Without a camera one would have the {MEAN.mean:.1f} % of std of the mean action"
    )
    assert found.to_dict()["choice"] == "encoder0 (1)"


def test_positions_have_their_own_unit_and_word() -> None:
    found = recommendation(errors(-20), metric="localization")
    assert found.reasons[0].endswith(f"the {MEAN.mean:.2f} mm of the mean position")


def test_the_best_of_many_is_shown_less_easily() -> None:
    # 24 differences of standard deviation 3: t is 1.4 / (3 / sqrt(24)) = 2.29, against 2.07 of one
    # candidate and 3.17 of twelve.
    few = recommendation(errors(-1.4))
    many = recommendation(errors(-1.4), *(errors(1, seed=i) for i in range(1, 12)))
    assert (few.better_than_constant, many.better_than_constant) == (True, False)


def test_of_candidates_that_learned_nothing_one_is_rarely_recommended() -> None:
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        values = [MEAN.values + rng.normal(size=(1, EPISODES)) for _ in range(12)]
        wrong += recommendation(*(Errors(each, FOLD) for each in values)).is_told
    assert wrong <= 10  # 2.5 % of 200 and twice that; some 50 with the interval of one candidate


def test_rollouts_that_confirm_make_it_a_choice() -> None:
    found = recommendation(errors(-0.5), errors(1, seed=2), confirmation={"held": True})
    assert (found.better_than_constant, found.is_told) == (False, True)
    assert found.headline.startswith("Take encoder0 (1): ")
    assert "not shown to be below the " in found.reasons[0]
    assert found.reasons[0].endswith("rollouts confirm the choice")
    for held in (None, False):
        assert not dataclasses.replace(found, confirmation={"held": held}).is_told


def test_a_single_candidate_has_no_other() -> None:
    assert recommendation(errors(-20)).headline.endswith("; there was no other candidate")


def test_without_the_mean_nothing_is_said_of_it() -> None:
    found = recommendation(errors(-20), constant={})
    assert (found.better_than_constant, found.is_told) == (None, True)
    assert "Without a camera" not in " ".join(found.reasons)


def test_the_picture_has_a_line_for_the_mean(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    lines: list[float] = []
    whole = Axes.axhline

    def counted(self: Any, y: float, **style: Any) -> Any:
        lines.append(y)
        return whole(self, y, **style)

    monkeypatch.setattr(Axes, "axhline", counted)
    draw(tmp_path / "a.png", recommendation(errors(-20)))
    draw(tmp_path / "b.png", recommendation(errors(-20), constant={}))
    assert lines == [MEAN.mean]
