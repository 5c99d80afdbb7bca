"""Terms of the page, with what they mean."""

from __future__ import annotations

from collections.abc import Iterable

from s2robot.reporting.page.task_words import terms_of
from s2robot.stats.power import LEAST_SEEDS

_TERMS: dict[str, str] = {
    "variant": "an encoder with its scale set, readout and source of pixels; what is compared.",
    "scale set": "the scales at which an encoder sees a frame (S², Scaling on Scales): (1) is the "
    "whole frame at the encoder's image size; (1, 2) adds the frame at twice that size, in tiles.",
    "native, interpolated": "whether larger scales show more pixels of the camera's frame "
    "(native), or those of scale 1 enlarged (interpolated).",
    "family": "encoders of one kind in several sizes, within which “larger” has a meaning.",
    "readout": "what becomes of an encoder's patch tokens before the policy: their mean, keypoints "
    "by a spatial softmax, and others.",
    "run": "one policy, trained with one training seed, and its episodes.",
    "training seed": "decides the random numbers of a training. Claims are about further seeds, so "
    f"a verdict takes {LEAST_SEEDS} of each variant.",
    "initial state": "",
    "difference": "second minus first, in percentage points of the success rate: more scales minus "
    "fewer, larger encoder minus smaller, native minus interpolated, trained minus random weights. "
    "A positive one means that the second is better.",
    "interval": "95 % confidence interval, for further training seeds and initial states.",
    "verdict": "better or worse: a difference is shown, of the second variant against the first. "
    "Equivalent: the rates are shown to be closer than a margin. Not shown: neither, which is no "
    "evidence that they are equal.",
    "Holm": "adjustment of p-values for the number of comparisons: the probability of any wrong "
    "better or worse on the page is at most 5 %.",
    "e-value": "evidence of a sequential test, which stays valid however often one looks.",
    "GFLOP": "thousand million arithmetic operations to encode one frame.",
    "milliseconds": "measured time of encoder and policy for one frame (median; p95: 95 % take no "
    "longer), on the machine of the runs; see Provenance.",
    "deadline": "the time that one frame may take, such as 33.3 ms for 30 frames a second.",
    "sweet spot": "the variant with the highest measured success rate within a budget. Of several "
    "near ones the luckiest stands first, so “told apart” says whether a comparison shows it.",
    "blind, ground truth": "",
}
"""Terms and their meaning; empty where the tasks decide it."""


def glossary(tasks: Iterable[str]) -> dict[str, str]:
    """Return terms and their meaning.

    Args:
        tasks: of the page, by their names in files.
    """
    return {**_TERMS, **terms_of(tasks)}
