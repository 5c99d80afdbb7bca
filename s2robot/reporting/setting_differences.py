"""Settings of runs: which of them must be equal to compare two runs, and what differs, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from s2robot.evaluation.baselines import displayed_name, is_baseline
from s2robot.evaluation.identity import comparable, differences
from s2robot.utils.io import digest_of

Settings = Mapping[str, Any]
"""``settings`` of ``cell.json``, nested by section."""
_NOT_OF_BASELINES = ("camera", "inference")
"""Sections that a baseline, which sees no pixels, does not have."""
_TILES = ("tile_budget", "tile_choice", "reuse")
"""Settings of the rollouts that concern pixels alone."""
_LATENCY = "latency_ms"
_DTYPE = "dtype"
_LEFT_OUT = {"search.order": "random"}
"""Values of settings that files leave out, because runs are older than the setting."""
_RECORDED = "recorded"
"""Version of the training on recorded data, of policies of `train data=`; missing in others."""
_SAID_BY_RECORDED = (
    *("demonstrations.digest", "demonstrations.level"),
    *("low_dim", "task.observations", "camera.of"),
)
"""Settings that differ wherever one of two policies was trained on recorded data."""
_OBSERVATIONS = ("low_dim", "task.observations")
_OBSERVATION = "task.observations."
_TITLES = {
    _RECORDED: "training on",
    "low_dim": "observations that the policy reads:",
    "task.observations": "observations that stand for those of the data:",
    "demonstrations.n": "number of demonstrations",
    "demonstrations.level": "demonstrations of",
    "camera.cameras": "cameras",
    "camera.of": "camera of the data",
    "camera.gl": "renderer",
}
"""What settings are called that no command has under their name in files."""
_DIGEST = "digest"
_DIGEST_LENGTH = 8
_LONGEST_VALUE = 48
_MOST_NAMED = 6


def without_encoder(settings: Settings) -> dict[str, Any]:
    """Return the settings that the variants of a comparison group share.

    Exact runtimes count as one, see ``comparable``. The latency of rollouts in real time is left
    out: it is what an encoder costs. So is the precision of rollouts that have that of the
    features: with dtype "auto", each encoder has the one that suits it and this processor.
    """
    shared = {name: value for name, value in comparable(settings).items() if name != "encoder"}
    encoder, inference = settings.get("encoder"), shared.get("inference")
    if isinstance(encoder, Mapping) and isinstance(inference, Mapping):
        if inference.get(_DTYPE) == encoder.get(_DTYPE):
            shared["inference"] = {k: v for k, v in inference.items() if k != _DTYPE}
    rollout = shared.get("rollout")
    if isinstance(rollout, Mapping) and _LATENCY in rollout:
        shared["rollout"] = {k: v for k, v in rollout.items() if k != _LATENCY}
    return shared


def without_pixels(settings: Settings) -> dict[str, Any]:
    """Return the settings that a baseline shares with the encoders that it is compared with."""
    shared = without_encoder(settings)
    rollout = {k: v for k, v in shared.get("rollout", {}).items() if k not in _TILES}
    return {k: v for k, v in shared.items() if k not in _NOT_OF_BASELINES} | {"rollout": rollout}


def group_key(settings: Settings) -> str:
    """Return the digest of the settings that the variants of a comparison group share."""
    return digest_of(without_encoder(settings))


def baseline_key(settings: Settings) -> str:
    """Return the digest of the settings that a baseline shares with a comparison group."""
    return digest_of(without_pixels(settings))


def changes(first: Settings, second: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ: dotted name to both values.

    Options of the encoder have their own names, without the section; the digest of weights is left
    out where the backbone's name differs. Against a baseline, settings of pixels are left out.

    Args:
        first: settings of a run.
        second: settings of another run.

    Examples:
        >>> first = {"encoder": {"backbone": "vit", "scales": [1]}, "train": {"epochs": 30}}
        >>> second = {"encoder": {"backbone": "vit", "scales": [1, 2]}, "train": {"epochs": 60}}
        >>> changes(first, second)
        {'scales': ([1], [1, 2]), 'train.epochs': (30, 60)}
    """
    one, other = first.get("encoder", {}), second.get("encoder", {})
    if _is_of_baseline(first) or _is_of_baseline(second):
        one, other = ({"backbone": displayed_name(str(e.get("backbone")))} for e in (one, other))
    found = {name: (a, b) for name, a, b in differences(one, other)}
    if "backbone" in found:
        found.pop("weights_digest", None)
    return found | shared_changes(first, second)


def latency_changes(first: Settings, second: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the latencies of two runs in real time where they differ, as ``changes`` does.

    Variants are compared in spite of them, since that is what an encoder costs.

    Args:
        first: settings of a run.
        second: settings of another run.
    """
    found = [settings.get("rollout", {}).get(_LATENCY) for settings in (first, second)]
    return {f"rollout.{_LATENCY}": (found[0], found[1])} if found[0] != found[1] else {}


def shared_changes(first: Settings, second: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the settings besides the encoder that differ: dotted name to both values.

    Args:
        first: settings of a run.
        second: settings of another run.

    Examples:
        >>> shared_changes({"search": {"seeds": 1}}, {"search": {"seeds": 1, "order": "balanced"}})
        {'search.order': ('random', 'balanced')}
    """
    baseline = _is_of_baseline(first) or _is_of_baseline(second)
    shared = without_pixels if baseline else without_encoder
    return {
        name: (_or_left_out(name, a), _or_left_out(name, b))
        for name, a, b in differences(shared(first), shared(second))
    }


def _or_left_out(name: str, value: Any) -> Any:
    return _LEFT_OUT.get(name) if value is None else value


def _is_of_baseline(settings: Settings) -> bool:
    return is_baseline(str(settings.get("encoder", {}).get("backbone")))


def words(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return a line for each setting that differs.

    Args:
        found: as ``changes`` returns it.

    Examples:
        >>> words({"train.epochs": (30, 60), "scales": ([1], [1, 2])})
        ['train.epochs 30 against 60', 'scales (1) against (1, 2)']
        >>> words({"demonstrations.digest": ("c75db764", "08f13a55")})
        ['different demonstrations']
    """
    lines = []
    for name, (one, other) in without_repeats(found).items():
        if name.endswith(_DIGEST):
            lines.append(f"different {name.removesuffix(_DIGEST).rstrip('._')}")
        else:
            both = f"{_own_value(name, one)} against {_own_value(name, other)}"
            lines.append(f"{_title(name)} {both}")
    return lines


def own_words(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return a line for each setting that differs, with the first value alone.

    Args:
        found: as ``changes`` returns it.

    Examples:
        >>> own_words({"train.epochs": (30, 60), "demonstrations.digest": ("c75db7641", "08f1")})
        ['train.epochs 30', 'demonstrations of digest c75db764']
    """
    lines = []
    for name, (own, _) in found.items():
        if name.endswith(_DIGEST):
            what = name.removesuffix(_DIGEST).rstrip("._")
            lines.append(f"{what} of digest {value(own)[:_DIGEST_LENGTH]}")
        else:
            lines.append(f"{_title(name)} {_own_value(name, own)}")
    return lines


def without_repeats(found: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Return what differs, of recorded data and demonstrations of a task that alone.

    Args:
        found: as ``changes`` returns it.
    """
    one, other = found.get(_RECORDED, (None, None))
    repeats = _SAID_BY_RECORDED if (one is None) != (other is None) else ()
    return {name: both for name, both in found.items() if name not in repeats}


def _title(name: str) -> str:
    """Return what a setting is called in words, where no command has it under its name."""
    if name.startswith(_OBSERVATION):
        return f"what stands for the observation {name.removeprefix(_OBSERVATION)} of the data:"
    return _TITLES.get(name, name)


def _own_value(name: str, setting: Any) -> str:
    """Return a setting's value as text, in words where the file has none."""
    if name == _RECORDED:
        return "demonstrations of the task" if setting is None else "recorded data"
    if name in _OBSERVATIONS and setting is None:
        return "the task's own"
    if name == "task.observations" and isinstance(setting, Mapping):
        named = {key: " + ".join(_listed(names)) for key, names in setting.items()}
        return value([key if key == own else f"{key} from {own}" for key, own in named.items()])
    if name == "camera" and isinstance(setting, Mapping):
        return value([each.get("name") for each in _listed(setting.get("cameras", setting))])
    if name == "camera.cameras" and isinstance(setting, list):
        return value([each.get("name") for each in setting if isinstance(each, Mapping)])
    return value(setting)


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def in_short(lines: Sequence[str]) -> str:
    """Return lines as one text; of many, the first ones and the number of the others.

    Examples:
        >>> in_short(["one", "two"])
        'one; two'
    """
    more = len(lines) - _MOST_NAMED
    return "; ".join(lines[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def value(setting: Any) -> str:
    """Return a setting as text.

    Examples:
        >>> value([1, 2.0]), value(None), value("mlp"), value(True)
        ('(1, 2)', 'unset', 'mlp', 'true')
    """
    if isinstance(setting, list):
        return "(" + ", ".join(value(item) for item in setting) + ")"
    if setting is None:
        return "unset"
    if isinstance(setting, float):
        return f"{setting:g}"
    text = setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE // 2]}…"
