from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from s2robot.policies.config import PolicyConfig
from s2robot.utils import validation


@dataclass(frozen=True)
class Settings:
    value: Any


@pytest.mark.parametrize(
    "check, refused, message",
    [
        (lambda s: validation.require_at_least(s, 2, "value"), 1, "is 1; it must be at least 2"),
        (lambda s: validation.require_at_least(s, 0, "value"), math.nan, "is nan; it must be"),
        (lambda s: validation.require_finite(s, 0, "value"), math.inf, "is inf; allowed: a finite"),
        (lambda s: validation.require_finite(s, 0, "value"), -1, "is -1; allowed: a finite number"),
        (lambda s: validation.require_positive(s, "value"), 0.0, "is 0.0; it must be positive"),
        (lambda s: validation.require_integers(s, 1, "value"), 0, "is 0; allowed: an integer of 1"),
        (lambda s: validation.require_integers(s, 1, "value"), 2.0, "is 2.0; allowed: an integer"),
        (
            lambda s: validation.require_integers(s, 1, "value"),
            True,
            "is True; allowed: an integer",
        ),
        (lambda s: validation.require_below_one(s, "value"), 1, r"is 1; it must lie in \[0, 1\)"),
        (lambda s: validation.require_below_one(s, "value"), -0.1, "is -0.1; it must lie in"),
        (lambda s: validation.require_fractions(s, "value"), 0, "is 0; it must lie between 0 and"),
        (lambda s: validation.require_fractions(s, "value"), 1, "is 1; it must lie between 0 and"),
        (
            lambda s: validation.require_one_of(s, {"value": ("off", "on")}),
            "onn",
            "unknown value 'onn'; available: off, on .did you mean 'on'",
        ),
    ],
)
def test_names_the_field_the_value_and_what_is_allowed(
    check: Callable[[Settings], None], refused: Any, message: str
) -> None:
    with pytest.raises(ValueError, match="value.*" + message.removeprefix("unknown value ")):
        check(Settings(refused))


def test_accepts_what_is_allowed() -> None:
    validation.require_at_least(Settings(1), 1, "value")
    validation.require_finite(Settings(0.0), 0, "value")
    validation.require_positive(Settings(1e-9), "value")
    validation.require_integers(Settings(0), 0, "value")
    validation.require_below_one(Settings(0), "value")
    validation.require_fractions(Settings(0.5), "value")
    validation.require_one_of(Settings("on"), {"value": ("off", "on")})


def test_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match="'keypoint'.*did you mean 'keypoints'"):
        validation.config_from_dict(PolicyConfig, {"keypoint": 3})


def test_old_place_of_the_checks_still_works() -> None:
    from s2robot.policies import config

    with pytest.warns(FutureWarning, match="s2robot.utils.validation.require_positive"):
        assert config.require_positive is validation.require_positive
    with pytest.raises(AttributeError, match="no attribute 'require_nothing'"):
        _ = config.require_nothing
