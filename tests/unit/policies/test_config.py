from __future__ import annotations

import dataclasses
import json

import pytest

from s2robot.policies.config import PolicyConfig
from s2robot.utils.validation import config_from_dict


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "mpl"}, "did you mean 'mlp'"),
        ({"loss": "l3"}, "available: l1_l2, l2, smooth_l1"),
        ({"hidden": ()}, "hidden is ()"),
        ({"keypoints": 0}, "keypoints is 0; it must be at least 1"),
        ({"softmax_scale": 0.0}, "softmax_scale is 0.0; it must be positive"),
        ({"softmax_scale": float("nan")}, "softmax_scale is nan"),
        ({"transformer_width": 190}, "not a multiple of transformer_heads 4"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
    ],
)
def test_refuses_what_is_not_allowed(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("()", r"\(\)")):
        PolicyConfig(**change)


def test_json_round_trip() -> None:
    config = PolicyConfig(kind="gmm", hidden=(8, 9))
    again = config_from_dict(PolicyConfig, json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
