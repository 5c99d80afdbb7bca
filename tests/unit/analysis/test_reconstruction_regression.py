"""Reconstruction: the numbers of the paper, least squares against NumPy, test blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.small_reconstruction import with_ones

from s2robot.analysis.reconstruction.regression import (
    RESOLUTION,
    BlockLosses,
    Moments,
    baseline_on,
    fit_linear_map,
    held_out,
    information,
    loss_on,
    ratio,
)
from s2robot.errors import NonFiniteError, S2RobotError

# ---------------------------------------------------------------------------- the paper's numbers
# All of arXiv 2403.13043v2 (18 July 2024), Table 2: loss, information, ratio [%]; the last row of
# each group is the reference. Losses are printed to four digits after the point.
TABLE_2 = {
    ("ViT Large", "train"): {
        "Base": (0.1100, 0.440, 82.9),
        "Base-S2": (0.1040, 0.521, 98.1),
        "Huge": (0.1033, 0.531, 100),
    },
    ("ViT Large", "test"): {
        "Base": (0.0994, 0.524, 87.6),
        "Base-S2": (0.0942, 0.601, 100.5),
        "Huge": (0.0944, 0.598, 100),
    },
    ("MAE Large", "train"): {
        "Base": (0.0013, 7.460, 97.3),
        "Base-S2": (0.0011, 7.694, 100.3),
        "Huge": (0.001, 7.669, 100),
    },
    ("MAE Large", "test"): {
        "Base": (0.0010, 7.840, 96.0),
        "Base-S2": (0.0009, 7.972, 97.6),
        "Huge": (0.0008, 8.169, 100),
    },
    ("OpenCLIP Large", "train"): {
        "Base": (0.3693, 1.495, 92.7),
        "Base-S2": (0.3408, 1.611, 99.9),
        "Giant": (0.3402, 1.613, 100),
    },
    ("OpenCLIP Large", "test"): {
        "Base": (0.3413, 1.723, 90.7),
        "Base-S2": (0.3170, 1.830, 96.3),
        "Giant": (0.3022, 1.900, 100),
    },
    ("OpenCLIP Huge", "train"): {
        "Base": (0.3926, 1.407, 83.2),
        "Base-S2": (0.3670, 1.504, 88.9),
        "Giant": (0.3221, 1.692, 100),
    },
    ("OpenCLIP Huge", "test"): {
        "Base": (0.4231, 1.413, 80.8),
        "Base-S2": (0.3970, 1.505, 86.0),
        "Giant": (0.3354, 1.749, 100),
    },
}
GROUPS = pytest.mark.parametrize("group", TABLE_2, ids=" ".join)
HALF_LOSS, HALF_BITS, HALF_PERCENT = 0.5e-4, 0.51e-3, 0.05
"""Of the last digit; OpenCLIP Large on test images needs the hundredth more of information."""


def baselines(loss: float, bits: float) -> tuple[float, float]:
    """Least and largest l0 that round to a row; the table does not print l0."""
    return (
        (loss - HALF_LOSS) * 2 ** (bits - HALF_BITS),
        (loss + HALF_LOSS) * 2 ** (bits + HALF_BITS),
    )


@GROUPS
def test_ratios_of_the_paper(group: tuple[str, str]) -> None:
    rows = list(TABLE_2[group].values())
    most = rows[-1][1]
    for _, bits, percent in rows:
        rounding = 100 * HALF_BITS * (1 / most + bits / most**2) + HALF_PERCENT
        assert 100 * ratio(bits, most) == pytest.approx(percent, abs=rounding)


@GROUPS
def test_from_losses_to_ratios_of_the_paper(group: tuple[str, str]) -> None:
    rows = dict(TABLE_2[group])
    most = list(rows.values())[-1][1]
    if group == ("MAE Large", "train"):
        del rows["Huge"]  # see the next test
    ranges = [baselines(loss, bits) for loss, bits, _ in rows.values()]
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    assert low <= high  # one l0 explains all rows
    for loss, printed, percent in rows.values():
        bits = information(loss, (low + high) / 2)
        rounding = math.log2((loss + HALF_LOSS) / (loss - HALF_LOSS)) + 2 * HALF_BITS
        assert bits == pytest.approx(printed, abs=rounding)
        assert 100 * ratio(bits, most) == pytest.approx(percent, abs=100 * rounding / most + 0.2)


def test_a_row_of_the_paper_that_contradicts_itself() -> None:
    """MAE on training images: the reference has the least loss, yet not the most information."""
    rows = TABLE_2["MAE Large", "train"]
    assert rows["Huge"][0] + HALF_LOSS <= rows["Base-S2"][0] - HALF_LOSS + 1e-9
    assert rows["Huge"][1] < rows["Base-S2"][1]
    assert baselines(*rows["Huge"][:2])[1] < baselines(*rows["Base"][:2])[0]


def test_the_papers_logarithm_is_of_base_2() -> None:
    base, larger = (TABLE_2["ViT Large", "train"][name] for name in ("Base", "Huge"))
    told = larger[1] - base[1]
    assert math.log2(base[0] / larger[0]) == pytest.approx(told, abs=0.002)
    assert abs(math.log(base[0] / larger[0]) - told) > 0.02


# ---------------------------------------------------------------------------------- least squares
def features(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Tokens with means and spreads of all sizes, of which half is noise."""
    rng, (dx, dy) = np.random.default_rng(seed), (7, 4)
    x = rng.normal(size=(n, dx)) @ rng.normal(size=(dx, dx)) * np.logspace(-2, 2, dx) + 50
    y = x @ rng.normal(size=(dx, dy)) * 0.01 + rng.normal(size=(n, dy)) + [3, -1, 0, 100]
    return x, y


def moments_of(x: np.ndarray, y: np.ndarray, batch: int = 70, places: int = 1) -> Moments:
    made = Moments(x.shape[1], y.shape[1], places)
    for start in range(0, len(x), batch):
        made.update(x[start : start + batch], y[start : start + batch])
    return made


def test_the_map_is_numpys() -> None:
    x, y = features()
    fitted = fit_linear_map(moments_of(x, y), ridge=0)
    solution = np.linalg.lstsq(with_ones(x), y, rcond=None)[0]
    assert np.allclose(fitted.weights, solution[:-1], rtol=1e-6, atol=1e-9)
    assert np.allclose(fitted.bias, solution[-1:], rtol=1e-6)
    assert np.allclose(fitted(x), with_ones(x) @ solution, atol=1e-8)


def test_the_ridge_is_a_share_of_each_channels_variance() -> None:
    x, y = features()
    fitted = fit_linear_map(moments_of(x, y), ridge=0.3)
    # the same as rows that ask each standardized weight to be 0
    std = x.std(axis=0)
    rows = np.concatenate([(x - x.mean(axis=0)) / std, math.sqrt(0.3 * len(x)) * np.eye(7)])
    asked = np.concatenate([y - y.mean(axis=0), np.zeros((7, 4))])
    weights = np.linalg.lstsq(rows, asked, rcond=None)[0] / std[:, None]
    assert np.allclose(fitted.weights, weights, rtol=1e-8, atol=1e-12)
    assert np.allclose(fitted(x).mean(axis=0), y.mean(axis=0))


def test_losses_from_moments_are_those_of_a_second_pass() -> None:
    x, y = features()
    other_x, other_y = features(seed=1, n=110)
    learnt, judged = moments_of(x, y), moments_of(other_x, other_y)
    fitted = fit_linear_map(learnt, ridge=1e-3)
    for made, a, b in ((learnt, x, y), (judged, other_x, other_y)):
        assert loss_on(fitted, made) == pytest.approx(np.mean((b - fitted(a)) ** 2), rel=1e-9)
        assert baseline_on(made) == pytest.approx(b.var(axis=0).mean(), rel=1e-12)
    constant = y.mean(axis=0, keepdims=True)
    assert baseline_on(judged, constant) == pytest.approx(np.mean((other_y - constant) ** 2))


@pytest.mark.parametrize("batch", [30, 90, 300])
def test_places_have_a_bias_and_a_baseline_each(batch: int) -> None:
    x, y = features()
    place = np.tile(np.arange(6), 50)  # 50 frames of 6 places
    y = y + 10 * np.random.default_rng(2).normal(size=(6, 4))[place]
    made = moments_of(x, y, batch, places=6)
    dummies = np.concatenate([x, np.eye(6)[place]], axis=1)
    solution = np.linalg.lstsq(dummies, y, rcond=None)[0]
    fitted = fit_linear_map(made, ridge=0)
    assert np.allclose(fitted(x), dummies @ solution, atol=1e-7)
    assert loss_on(fitted, made) == pytest.approx(np.mean((y - dummies @ solution) ** 2), rel=1e-7)
    means = np.stack([y[place == p].mean(axis=0) for p in range(6)])
    assert baseline_on(made) == pytest.approx(np.mean((y - means[place]) ** 2))
    assert baseline_on(made) < baseline_on(moments_of(x, y)) / 5


def test_places_pooled_are_moments_without_places() -> None:
    x, y = features()
    pooled, alone = moments_of(x, y, 90, places=6).pooled(), moments_of(x, y)
    assert (pooled.count, pooled.places) == (300, 1)
    assert np.allclose(pooled.mean, alone.mean)
    assert np.allclose(pooled.scatter, alone.scatter, rtol=1e-9, atol=1e-6)


def test_moments_of_some_channels() -> None:
    x, y = features()
    chosen = np.array([4, 0, 5])
    part, alone = moments_of(x, y).of_inputs(chosen), moments_of(x[:, chosen], y)
    assert (part.inputs, part.count) == (3, 300)
    assert np.allclose(part.mean, alone.mean)
    assert np.allclose(part.scatter, alone.scatter, rtol=1e-9, atol=1e-6)


def test_variance_of_a_channel_with_a_large_mean_survives() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2)) + [1e8, 0]
    made = moments_of(x, x, batch=16)
    assert np.allclose(made.scatter[:2, :2] / 4000, np.cov(x.T, bias=True), rtol=1e-6, atol=1e-6)


def test_an_invertible_transform_is_recovered() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(500, 8))
    made = moments_of(x, x[:, ::-1] @ rng.normal(size=(8, 8)) + 5)
    bits = information(max(loss_on(fit_linear_map(made, 0), made), 1e-30), baseline_on(made))
    assert bits > 40
    assert information(loss_on(fit_linear_map(made), made), baseline_on(made)) > 25


def test_units_of_channels_do_not_matter() -> None:
    x, y = features()
    there = loss_on(fit_linear_map(moments_of(x, y), 0.1), moments_of(x, y))
    scaled = moments_of(x * np.logspace(-6, 6, 7), y)
    assert loss_on(fit_linear_map(scaled, 0.1), scaled) == pytest.approx(there, rel=1e-6)


def test_channels_that_tell_nothing() -> None:
    x, y = features()
    repeated = np.concatenate([x, x, np.full((300, 1), 0.1)], axis=1)
    made = moments_of(repeated, y)
    with pytest.raises(S2RobotError, match="linearly dependent .* give a ridge above 0"):
        fit_linear_map(made, ridge=0)
    fitted, alone = fit_linear_map(made), moments_of(x, y)
    assert np.all(fitted.weights[-1] == 0)
    assert loss_on(fitted, made) == pytest.approx(loss_on(fit_linear_map(alone), alone), rel=1e-5)
    level = np.float32(0.1)
    rounding = np.where(np.arange(300) % 2, level, np.nextafter(level, np.float32(1)))[:, None]
    rounded = fit_linear_map(moments_of(np.concatenate([x, rounding], axis=1), y))
    assert np.all(rounded.weights[-1] == 0)
    constant = moments_of(np.ones((50, 3)), y[:50])
    assert loss_on(fit_linear_map(constant), constant) == pytest.approx(baseline_on(constant))


@pytest.mark.parametrize(
    "x, y, message",
    [
        (np.zeros((3, 2)), np.zeros((4, 1)), "tokens must be"),
        (np.zeros((3, 3)), np.zeros((3, 1)), r"got \(3, 3\) and \(3, 1\)"),
        (np.zeros((0, 2)), np.zeros((0, 1)), "not 0"),
        (np.zeros((4, 2)), np.zeros((4, 1)), "n a multiple of 3"),
    ],
)
def test_bad_tokens(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Moments(2, 1, places=3).update(x, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_tokens_that_are_not_finite(bad: float) -> None:
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        Moments(1, 1).update(np.array([[1.0], [bad]]), np.zeros((2, 1)))


def test_bad_fits() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Moments(0, 3)
    with pytest.raises(ValueError, match="at least 2 tokens; got 0"):
        fit_linear_map(Moments(2, 2))
    for ridge in (-1e-3, math.nan, math.inf):
        with pytest.raises(ValueError, match="ridge must be a number from 0"):
            fit_linear_map(moments_of(*features()), ridge)


# ---------------------------------------------------------------------------- information, blocks
def test_information() -> None:
    assert information(0.25, 1.0) == 2.0
    assert information(4.0, 1.0) == -2.0
    assert information(0.0, 1.0) == math.inf
    assert ratio(1.0, 4.0) == 0.25
    for loss, baseline in ((-1.0, 1.0), (math.nan, 1.0), (1.0, 0.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="loss must be"):
            information(loss, baseline)
    for recovered, most in ((1.0, 0.0), (1.0, -1.0), (math.inf, 1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="ratio needs finite"):
            ratio(recovered, most)


def losses(left: Any, total: Any = (8.0, 6.0, 10.0, 8.0)) -> BlockLosses:
    return BlockLosses(np.array(left, float), np.array(total), np.array([4.0, 4.0, 4.0, 8.0]))


def test_block_losses() -> None:
    test = losses([2, 3, 2, 1])
    assert (test.loss, test.baseline) == (8 / 20, 32 / 20)
    found = test.information()
    assert found.estimate == pytest.approx(2.0)
    assert found.low < 2.0 < found.high
    # a bootstrap by loops, of the same number of draws
    rng = np.random.default_rng(7)
    draws = [rng.integers(0, 4, 4) for _ in range(4000)]
    bits = [np.log2(test.total[d].sum() / test.left[d].sum()) for d in draws]
    assert np.allclose([found.low, found.high], np.quantile(bits, [0.025, 0.975]), atol=0.15)
    even = losses([2, 1.5, 2.5, 2]).information()
    assert np.allclose([even.low, even.high], 2.0)


def test_differences_and_ratios_are_paired() -> None:
    first, second = losses([2, 3, 2, 1]), losses([1, 1.5, 1, 0.5])
    more = second.more_than(first)  # half of the squares in every block
    assert np.allclose([more.estimate, more.low, more.high], 1.0)
    assert more.excludes_zero()
    assert not first.more_than(first).excludes_zero()
    share = first.ratio_to(second)
    assert share is not None
    assert share.estimate == pytest.approx(2 / 3)
    assert share.low < 2 / 3 < share.high
    nothing = losses([9, 7, 11, 9])
    assert first.ratio_to(nothing) is None
    assert nothing.information().estimate < 0
    with pytest.raises(ValueError, match="same test blocks"):
        first.more_than(BlockLosses(first.left, first.total, first.values + 1))


def test_perfect_blocks_stay_finite() -> None:
    perfect = losses([0, 0, 0, 0])
    assert perfect.information().estimate == pytest.approx(-math.log2(RESOLUTION))
    assert math.isfinite(perfect.more_than(losses([2, 3, 2, 1])).high)


def test_bad_block_losses() -> None:
    with pytest.raises(ValueError, match=r"must be \(B,\) each"):
        BlockLosses(np.ones(3), np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="nothing to recover"):
        losses([1, 1, 1, 1], (1.0, 0.0, 1.0, 1.0))


def test_blocks_are_held_out_whole() -> None:
    blocks = np.repeat([3, 9, 1, 7, 5, 8, 2, 4], 5)
    tested = held_out(blocks, 0.25, seed=1)
    assert tested.sum() == 10
    assert not set(blocks[tested]) & set(blocks[~tested])
    assert np.array_equal(tested, held_out(blocks, 0.25, seed=1))
    assert any(not np.array_equal(tested, held_out(blocks, 0.25, seed)) for seed in range(2, 6))
    for share in (0.01, 0.99):  # two blocks at least on either side
        assert min(len(set(blocks[t])) for t in (held_out(blocks, share),)) >= 2
        assert len(set(blocks[~held_out(blocks, share)])) >= 2
    with pytest.raises(ValueError, match="12 frames in 3 blocks are too few"):
        held_out(np.repeat([0, 1, 2], 4))
    for share in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            held_out(blocks, share)
