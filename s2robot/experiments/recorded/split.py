"""Division of recorded episodes into training, tuning and held-out ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

HELD_OUT_SHARE = 0.2
"""Share of the episodes that are held out where the data set has no division of its own; of few
episodes a third, up to 4, since an interval over two says little."""
LEAST_HELD_OUT = 5
"""Held-out episodes below which their intervals say little, which is told."""
TUNING_SHARE = 0.15
"""Share of the training episodes that choose hyperparameters."""
_TRAIN = "train"
_HELD_OUT = ("test", "valid", "val", "validation")


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of episodes; held-out ones decide nothing."""

    train: np.ndarray
    """Episodes of the training, which the tuning episodes are among or not."""
    tuning: np.ndarray
    """Episodes that choose hyperparameters; trainings of the search leave them out."""
    held_out: np.ndarray
    """Episodes whose errors are reported."""
    origin: str
    """Where the division comes from, in words."""

    def unused(self, episodes: int) -> np.ndarray:
        """Return the indices of the episodes that the data set's masks leave out of all parts.

        Args:
            episodes: their number E.
        """
        parts = np.concatenate([self.train, self.tuning, self.held_out])
        return np.setdiff1d(np.arange(episodes), parts)

    def record(self) -> dict[str, list[int]]:
        """Return JSON-able values."""
        return {name: getattr(self, name).tolist() for name in ("train", "tuning", "held_out")}


def too_few(held_out: int) -> str | None:
    """Return a sentence that intervals over few held-out episodes are wide; None for enough.

    Args:
        held_out: number of held-out episodes.
    """
    if held_out >= LEAST_HELD_OUT:
        return None
    given = "1 episode is" if held_out == 1 else f"{held_out} episodes are"
    return (
        f"Only {given} held out, so intervals are wide and may exceed every possible error, or "
        f"there are none. Name at least {LEAST_HELD_OUT} episodes in a mask 'valid' (mask/valid of "
        "a robomimic file, masks of dataset.json, splits in meta/info.json of LeRobot), or record "
        "more: without masks a fifth of them is held out"
    )


def split_episodes(source: str, episodes: int, masks: Mapping[str, np.ndarray]) -> Split:
    """Return the division of a data set: its own, else one that is drawn, always the same.

    Args:
        source: the data set's path, for messages.
        episodes: their number E.
        masks: divisions that the data set has. ``test``, or else ``valid``, is held out; ``train``
            is trained on, or else all others; ``valid`` beside ``test`` chooses hyperparameters.

    Raises:
        ValueError: there is only one episode, or a division is empty or has an episode twice.
    """
    if episodes < 2:
        raise ValueError(
            f"{source} has {episodes} episode; a policy is measured on held-out episodes, so there "
            "must be at least 2"
        )
    every, rng = np.arange(episodes), np.random.default_rng(0)
    names = [name for name in _HELD_OUT if len(masks.get(name, ()))]
    rest = np.setdiff1d(every, masks.get(_TRAIN, every))
    if names:
        held_out, origin = np.sort(masks[names[0]]), f"the data set's mask {names[0]!r}"
    elif len(rest):
        held_out, origin = rest, "episodes that the data set's mask 'train' leaves out"
    else:
        count = max(round(HELD_OUT_SHARE * episodes), min(4, episodes // 3), 1)
        held_out, origin = np.sort(rng.permutation(every)[:count]), "drawn with seed 0"
    own = _TRAIN in masks and (names or len(rest))
    train = np.sort(masks[_TRAIN]) if own else np.setdiff1d(every, held_out)
    _check(source, train, held_out)
    return Split(train, _tuning(names, masks, train, held_out, rng), held_out, origin)


def _tuning(
    names: list[str],
    masks: Mapping[str, np.ndarray],
    train: np.ndarray,
    held_out: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the episodes that choose hyperparameters, none where only one is trained on."""
    if len(names) > 1:
        return np.setdiff1d(masks[names[1]], np.concatenate([train, held_out]))
    if len(train) < 2:
        return train[:0]
    count = max(round(TUNING_SHARE * len(train)), 1)
    return np.sort(rng.permutation(train)[:count])


def _check(source: str, train: np.ndarray, held_out: np.ndarray) -> None:
    for name, episodes in ((_TRAIN, train), ("held out", held_out)):
        if not len(episodes):
            raise ValueError(f"{source}: no episode is left for {name}; correct its masks")
    both = np.intersect1d(train, held_out)
    if len(both):
        raise ValueError(
            f"{source}: episode {both[0]} is in the mask for training and in the held-out one; an "
            "error on it would say nothing, so correct the masks"
        )
