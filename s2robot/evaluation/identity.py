"""Identity of a run: everything that can change one of its rows, as ``run.json`` holds it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from s2robot.data.config import cameras_of
from s2robot.envs.gl import select_gl
from s2robot.evaluation.config import EvalConfig
from s2robot.utils.provenance import change_since, provenance

RECORD_FORMAT = 2
"""Format of ``run.json``, ``cell.json`` and the rows. Those of format 1 name neither the settings
of a run nor the runtime, device and versions of its rows, and do not count the steps with the cube
lifted; they are not compared with later ones."""
_REPEATS = ("cpu", "float32")
"""Device and precision whose arithmetic does not depend on the other tiles of a batch."""
_OF_NUMBERS = ("precision", "resizing")
"""Entries of a runtime's description that stand for other numbers than rounding gives."""


def camera_record(frames: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the camera of the rollouts and the renderer in use; None for a policy without pixels.

    Several are under ``cameras``; their scales are the encoder's.

    Args:
        frames: source of the frames, from the header of the policy.
    """
    if not frames:
        return None
    cameras = [
        {key: value for key, value in camera.items() if key != "scales"}
        for camera in cameras_of(frames)
    ]
    own = cameras[0] if len(cameras) == 1 else {"cameras": cameras}
    return {**own, "gl": select_gl()}


def rollout_record(
    config: EvalConfig, horizon: int, encodes: bool, inference: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the settings of the rollouts that can change a row, JSON-able.

    Args:
        config: of the rollouts.
        horizon: control steps of an episode.
        encodes: whether the policy has an encoder; without one there are no tiles.
        inference: as ``FrameEncoder.inference``; None where it is not known.
    """
    budget = config.tile_budget if encodes else None
    inexact = inference is not None and (inference["device"], inference["dtype"]) != _REPEATS
    return {
        "horizon": horizon,
        "num_envs": config.num_envs,
        "tile_budget": budget,
        "tile_choice": None if budget is None else config.tile_choice,
        "reuse": config.reuse and inexact,
        **config.realtime_record(),
        **({"machine": provenance()["machine"]} if config.measures_latency else {}),
    }


def warn_of_other_simulation(trained: Mapping[str, Any]) -> None:
    """Warn where a policy was trained under another MuJoCo than the one that evaluates it.

    Its results are not pooled with those of other policies, since reports compare versions.

    Args:
        trained: ``provenance`` of the policy file.
    """
    change = change_since(trained)
    if change is not None:
        warnings.warn(
            f"the policy was trained under another MuJoCo than the installed one: {change}. "
            "Its success may differ from that under its own",
            UserWarning,
            stacklevel=2,
        )


def differences(
    seen: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, value seen, value wanted) of the entries that differ.

    Args:
        seen: nested JSON-able values.
        wanted: the same of another run.
        prefix: of the names.

    Examples:
        >>> seen = {"env": {"horizon": 40, "level": "easy"}, "n": 2}
        >>> list(differences(seen, {"env": {"horizon": 50, "level": "easy"}, "n": 2}))
        [('env.horizon', 40, 50)]
    """
    for key in {**seen, **wanted}:
        one, other = seen.get(key), wanted.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{prefix}{key}.")
        elif one != other:
            yield f"{prefix}{key}", one, other


def comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a run with all exact runtimes as one, for comparisons between runs.

    Exact runtimes agree to the rounding of float32, so which one the measurement of runtime "auto"
    took on a machine does not tell two variants apart. A run's own identity names it all the same;
    and where the latency of real time was measured, the runtime decided it.

    Args:
        settings: ``settings`` of ``cell.json``.

    Examples:
        >>> runtime = {"name": "openvino", "openvino": "2026.4.1", "exact": True}
        >>> comparable({"inference": {"runtime": runtime, "device": "cpu"}})
        {'inference': {'runtime': {'name': 'eager', 'exact': True}, 'device': 'cpu'}}
    """
    rollout = settings.get("rollout") or {}
    measured = rollout.get("realtime") and rollout.get("latency_ms") is None
    if exact_runtime(settings) is None or measured:
        return dict(settings)
    inference = settings["inference"]
    runtime = {k: v for k, v in inference["runtime"].items() if k in _OF_NUMBERS and v != "bf16"}
    runtime = {"name": "eager", **runtime, "exact": True}
    return {**settings, "inference": {**inference, "runtime": runtime}}


def exact_runtime(settings: Mapping[str, Any]) -> str | None:
    """Return the name of the runtime that a run's rows were made with; None if it is not exact.

    Args:
        settings: ``settings`` of ``cell.json``.
    """
    found: Any = settings
    for name in ("inference", "runtime"):
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or found.get("exact") is not True:
        return None
    return str(found.get("name"))
