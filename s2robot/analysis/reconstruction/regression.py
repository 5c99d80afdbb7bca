"""How much of one model's features a linear map recovers from another's (S² paper §4.2).

Loss l is the mean squared error over tokens and channels, l0 that of the best constant, and
I = -log2(l / l0) the information recovered. Sums of squares and products are kept in place of
tokens: memory is that of one (Dx + Dy)² matrix however many frames there are.

    moments = Moments(dx, dy)
    for x, y in batches:                      # (n, Dx) and (n, Dy), same tokens
        moments.update(x, y)
    fitted = fit_linear_map(moments, ridge=1e-6)
    information(loss_on(fitted, moments), baseline_on(moments))
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from s2robot.errors import NonFiniteError, S2RobotError
from s2robot.stats.intervals import Interval, block_draws, limits

RIDGE = 1e-6
"""Share of each input channel's variance that is added to it; enough to make the sums invertible
where channels repeat each other, too little to be seen in a loss otherwise."""
RESOLUTION = 1e-12
"""Least l / l0 that is told apart from 0: about 40 bits."""
_FLAT = 1e-9  # spread of a channel over its mean below which it is a constant


# --------------------------------------------------------------------------------------- moments
class Moments:
    """Count, means and centred sums of products of tokens of two models, batch after batch.

    Args:
        inputs: Dx, channels that are mapped from.
        outputs: Dy, channels that are mapped to.
        places: P, tokens of a frame that have a mean of their own each; 1, as in the paper, for one
            mean of all. With the places of a grid, maps get a bias for each and l0 is that of the
            best constant for each: what never moves before a fixed camera then counts for nothing.
    """

    def __init__(self, inputs: int, outputs: int, places: int = 1) -> None:
        if min(inputs, outputs, places) < 1:
            raise ValueError(
                f"inputs {inputs}, outputs {outputs} and places {places} must be at least 1"
            )
        self.inputs = inputs
        self.outputs = outputs
        self.places = places
        self.count = 0
        """Tokens of all places."""
        self.mean = np.zeros((places, inputs + outputs))
        """``(P, Dx + Dy)`` float64."""
        self.scatter = np.zeros((inputs + outputs, inputs + outputs))
        """``(Dx + Dy, Dx + Dy)`` float64: sum of outer products of what differs from the mean."""

    def update(self, x: np.ndarray, y: np.ndarray) -> None:
        """Add tokens ``(n, Dx)`` and ``(n, Dy)``, row by row of the same spot of a frame.

        Frame follows frame, each with its P places in order. Centred batches are merged (Chan,
        Golub and LeVeque 1979), as plain sums of squares lose the variance of a channel whose mean
        is large.

        Raises:
            ValueError: other shapes.
            NonFiniteError: a number is NaN or infinite.
        """
        joint = self._checked(x, y)  # (frames, P, Dx + Dy)
        count, mean = joint.shape[0] * self.places, joint.mean(axis=0)
        joint -= mean
        joint = joint.reshape(count, -1)
        shift, total = mean - self.mean, self.count + count
        self.scatter += joint.T @ joint
        self.scatter += shift.T @ shift * (self.count / total * count / self.places)
        self.mean += shift * (count / total)
        self.count = total

    def of_inputs(self, channels: np.ndarray) -> Moments:
        """The moments of some of the input channels, given by their numbers, and of all outputs."""
        kept = np.concatenate([channels, np.arange(self.inputs, self.inputs + self.outputs)])
        part = Moments(len(channels), self.outputs, self.places)
        part.count = self.count
        part.mean = self.mean[:, kept]
        part.scatter = self.scatter[np.ix_(kept, kept)]
        return part

    def pooled(self) -> Moments:
        """The moments of the same tokens with one mean of all places."""
        whole = Moments(self.inputs, self.outputs)
        whole.count = self.count
        whole.mean = self.mean.mean(axis=0, keepdims=True)
        apart = self.mean - whole.mean
        whole.scatter = self.scatter + apart.T @ apart * (self.count / self.places)
        return whole

    def _checked(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        expected = (len(x), self.inputs), (len(x), self.outputs)
        if not len(x) or len(x) % self.places or (x.shape, y.shape) != expected:
            raise ValueError(
                f"tokens must be (n, {self.inputs}) and (n, {self.outputs}), n a multiple of "
                f"{self.places} and not 0; got {x.shape} and {y.shape}"
            )
        joint = np.concatenate([x, y], axis=1)
        if not np.isfinite(joint).all():
            raise NonFiniteError(
                "tokens hold NaN or infinite numbers; a linear map cannot be fitted to them: use "
                "other weights, or dtype float32"
            )
        return joint.reshape(-1, self.places, joint.shape[1])


# ------------------------------------------------------------------------------------------- map
@dataclass(frozen=True)
class LinearMap:
    """A linear map with a bias."""

    weights: np.ndarray
    """``(Dx, Dy)`` float64."""
    bias: np.ndarray
    """``(P, Dy)`` float64."""
    ridge: float
    """That it was fitted with."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Tokens ``(n, Dx)``, n a multiple of P, to ``(n, Dy)`` float64."""
        return less(np.asarray(x, dtype=np.float64) @ self.weights, -self.bias)


def less(tokens: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """Tokens ``(n, C)`` less the constant ``(P, C)`` of the place of each."""
    return (tokens.reshape(-1, *constants.shape) - constants).reshape(tokens.shape)


def fit_linear_map(moments: Moments, ridge: float = RIDGE) -> LinearMap:
    """The map of least squares, solved at once from sums over the training tokens.

    Args:
        moments: of the training tokens.
        ridge: this share of each input channel's own variance is added to it, so that the result
            does not depend on the channels' units. The bias is not penalised.

    Raises:
        ValueError: fewer than two tokens, or a negative ridge.
        S2RobotError: ridge 0 and channels that follow from each other.
    """
    if moments.count < 2:
        raise ValueError(f"a linear map needs at least 2 tokens; got {moments.count}")
    if not 0 <= ridge < math.inf:
        raise ValueError(f"ridge must be a number from 0, such as {RIDGE}; got {ridge}")
    dx, mean = moments.inputs, moments.mean
    scatter = moments.scatter / moments.count
    spread = np.sqrt(np.diag(scatter)[:dx])
    varies = spread > _FLAT * np.abs(mean[:, :dx]).max(axis=0)
    weights = np.zeros((dx, moments.outputs))
    if varies.any():
        scale = spread[varies]
        gram = scatter[:dx, :dx][np.ix_(varies, varies)] / np.outer(scale, scale)
        cross = scatter[:dx, dx:][varies] / scale[:, None]
        weights[varies] = _solve(gram, cross, ridge) / scale[:, None]
    return LinearMap(weights, mean[:, dx:] - mean[:, :dx] @ weights, ridge)


def _solve(gram: np.ndarray, cross: np.ndarray, ridge: float) -> np.ndarray:
    gram[np.diag_indices_from(gram)] += ridge
    try:
        factor = linalg.cho_factor(gram, lower=True, overwrite_a=True)
    except linalg.LinAlgError:
        raise S2RobotError(
            f"with ridge {ridge} the {len(gram)} input channels follow from each other on these "
            f"tokens and no map is the best; give a ridge above 0, such as {RIDGE}, or more frames"
        ) from None
    return linalg.cho_solve(factor, cross)


def loss_on(fitted: LinearMap, moments: Moments) -> float:
    """l: mean squared error over tokens and channels, exactly, on the tokens of any moments."""
    dx, weights = moments.inputs, fitted.weights
    sxx, sxy = moments.scatter[:dx, :dx], moments.scatter[:dx, dx:]
    left = np.trace(moments.scatter[dx:, dx:]) + np.sum(weights * (sxx @ weights - 2 * sxy))
    shift = moments.mean[:, dx:] - fitted(moments.mean[:, :dx])
    squares = left / moments.count + np.sum(np.square(shift)) / moments.places
    return max(0.0, float(squares)) / moments.outputs


def baseline_on(moments: Moments, constant: np.ndarray | None = None) -> float:
    """l0: mean squared error of a constant ``(P, Dy)``, by default the best one, the mean."""
    dx = moments.inputs
    shift = 0.0 if constant is None else moments.mean[:, dx:] - constant
    squares = np.trace(moments.scatter[dx:, dx:]) / moments.count
    return float(squares + np.sum(np.square(shift)) / moments.places) / moments.outputs


# ----------------------------------------------------------------------------------- information
def information(loss: float, baseline: float) -> float:
    """I = -log2(l / l0): recovered information (paper §4.2 and appendix B).

    Twice the bits a channel if both models' features were isotropic Gaussians; 0 says no better
    than a constant, below 0 worse (of test frames), infinite a loss of 0.

    Raises:
        ValueError: the loss is negative or NaN, or the baseline is not above 0.
    """
    if not 0 <= loss < math.inf:
        raise ValueError(f"loss must be a number from 0; got {loss}")
    if not 0 < baseline < math.inf:
        raise ValueError(
            f"the baseline loss must be above 0; got {baseline}: features that never vary hold "
            "nothing to recover"
        )
    return math.inf if loss == 0 else -math.log2(loss / baseline)


def ratio(recovered: float, reference: float) -> float:
    """I / I*: share of what a still larger model recovers of the same features (paper §4.2).

    Raises:
        ValueError: the reference recovers nothing, or a number is not finite.
    """
    if not (math.isfinite(recovered) and 0 < reference < math.inf):
        raise ValueError(
            f"a ratio needs finite information of which the reference's is above 0; got "
            f"{recovered} and {reference}"
        )
    return recovered / reference


# ----------------------------------------------------------------------------------- test blocks
@dataclass(frozen=True)
class BlockLosses:
    """Sums of squares on test tokens, block by block of frames that follow each other."""

    left: np.ndarray
    """``(B,)``: that the map leaves, over tokens and channels."""
    total: np.ndarray
    """``(B,)``: about the mean of the training tokens."""
    values: np.ndarray
    """``(B,)``: tokens times channels."""

    def __post_init__(self) -> None:
        shapes = {np.shape(part) for part in (self.left, self.total, self.values)}
        if len(shapes) > 1 or not len(self.left):
            raise ValueError(f"left, total and values must be (B,) each, B from 1; got {shapes}")
        if not np.min(self.total) > 0:
            raise ValueError(
                "the target's features are the training mean on some test block, so there is "
                "nothing to recover; take frames that differ"
            )

    @property
    def loss(self) -> float:
        """l, at least ``RESOLUTION`` of l0."""
        least = RESOLUTION * self.total.sum()
        return float(max(self.left.sum(), least) / self.values.sum())

    @property
    def baseline(self) -> float:
        """l0 of the training tokens' mean."""
        return float(self.total.sum() / self.values.sum())

    def information(self) -> Interval:
        """I with a 95 % interval over blocks; the map itself is taken as given."""
        return Interval(information(self.loss, self.baseline), *limits(self._draws()))

    def more_than(self, other: BlockLosses) -> Interval:
        """I less that of ``other`` on the same blocks, with a 95 % interval over blocks."""
        self._check_paired(other)
        estimate = information(self.loss, self.baseline) - information(other.loss, other.baseline)
        return Interval(estimate, *limits(self._draws() - other._draws()))

    def ratio_to(self, reference: BlockLosses) -> Interval | None:
        """I / I* with a 95 % interval over blocks; None where the reference recovers nothing."""
        self._check_paired(reference)
        most = information(reference.loss, reference.baseline)
        draws = reference._draws()
        if most <= 0 or draws.min() <= 0:
            return None
        recovered = information(self.loss, self.baseline)
        return Interval(ratio(recovered, most), *limits(self._draws() / draws))

    def _draws(self) -> np.ndarray:
        """I of blocks drawn with replacement, the same ones for every map: ``(draws,)``."""
        weights = block_draws(len(self.left))
        total = weights @ self.total
        return -np.log2(np.maximum(weights @ self.left, RESOLUTION * total) / total)

    def _check_paired(self, other: BlockLosses) -> None:
        if not np.array_equal(self.values, other.values):
            raise ValueError(
                "losses on the same test blocks can be compared; these have "
                f"{self.values.tolist()} and {other.values.tolist()} values"
            )


def held_out(blocks: np.ndarray, share: float = 0.25, seed: int = 0) -> np.ndarray:
    """Which frames are for the test: whole blocks, as frames of a video resemble their neighbours.

    Args:
        blocks: ``(N,)``: number of the episode or block that a frame is of.
        share: of the blocks, strictly between 0 and 1.
        seed: of the draw.

    Returns:
        ``(N,)`` bool; at least two blocks are in it and at least two are not.

    Raises:
        ValueError: a share that is none, or fewer than four blocks.
    """
    numbers = np.unique(blocks)
    if not 0 < share < 1:
        raise ValueError(f"the share of test blocks must lie between 0 and 1; got {share}")
    if len(numbers) < 4:
        raise ValueError(
            f"{len(blocks)} frames in {len(numbers)} blocks are too few to hold some out; at least "
            "4 blocks are needed: give more frames, or shorter blocks"
        )
    count = min(max(2, round(share * len(numbers))), len(numbers) - 2)
    drawn = np.random.default_rng([seed, 4]).permutation(len(numbers))[:count]
    return np.isin(blocks, numbers[drawn])
