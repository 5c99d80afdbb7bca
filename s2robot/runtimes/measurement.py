"""Times of runtimes, measured once and kept for the machine, the model and the tiles of a frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s2robot.errors import CorruptFileError
from s2robot.runtimes.base import Runtime, RuntimeFailedError, RuntimeMissingError, TokenModel
from s2robot.runtimes.other_work import BUSY, OtherWork, share_now
from s2robot.utils.distributed import usable_cores
from s2robot.utils.io import digest_of, jsonable, locked, read_json, write_json
from s2robot.utils.paths import home
from s2robot.utils.provenance import cpu_flags, optional_versions, processor, versions
from s2robot.utils.records import record_of

_ROUNDS = 10
"""Ways are timed in turn and the shortest time counts, so that other work on the machine does not
decide."""
_LONGEST_S = 3.0
"""No further round begins after that time."""
_CLEARLY_SLOWER = 1.25
"""A way that took that many times as long as the fastest so far is not timed again."""
_FEW_TILES = 8
_FAR_SLOWER = 3.0
"""A way that takes that many times as long as the fastest for a few tiles is not timed on all: for
a hundred tiles of a ConvNet, eager PyTorch would need minutes."""
Makers = Mapping[str, Callable[[], Runtime]]


def machine() -> dict[str, Any]:
    """Return what decides times on this machine besides the model, JSON-able.

    The name of a processor is not enough: in a virtual machine, "AMD EPYC" stands for processors
    with other instruction sets.
    """
    return {
        "processor": processor(),
        "instructions": sorted(cpu_flags()),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "packages": optional_versions(),
        "torch": versions()["torch"],
        "s2robot": versions()["s2robot"],
    }


def identity(model: TokenModel, tiles: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return everything that times and agreement of runtimes depend on, JSON-able.

    Args:
        model: the model to run.
        tiles: (number, 3, height, width) of each batch of tiles.
    """
    device = model.device
    return {
        **machine(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "architecture": model.backbone.card.architecture.to_dict(),
        "weights": model.backbone.weights_digest,  # a runtime may differ too much for some
        "stage": model.pooling,
        "taps": [list(model.layers), model.layers_merge] if model.layers else [],
        "tiles": [list(shape) for shape in tiles],
    }


@dataclass(frozen=True)
class _Measurement:
    """Those entries of a stored measurement that decide."""

    fastest: str
    milliseconds: dict[str, float]
    left_out: dict[str, str]
    other_work: float = 0.0
    """Share of the cores that other programs had meanwhile."""


def remembered(
    key: Mapping[str, Any],
    names: Sequence[str],
    measure: Callable[[], dict[str, Any]],
    again_when_quiet: bool = False,
) -> dict[str, Any]:
    """Return the measurement of a key; without one that can be read, measure and keep it.

    Args:
        key: everything that the measurement depends on.
        names: of the ways that are measured. No other is taken from a file.
        measure: returns the measurement; its entry ``fastest`` names the fastest way.
        again_when_quiet: a measurement beside other programs is made again, once those are gone.

    Returns:
        The key, what ``measure`` returns, and ``other_work``, the share of the cores that other
        programs had meanwhile.
    """
    path = home() / "runtimes" / f"{digest_of(key)[:24]}.json"
    with locked(path):
        known = _read(path, key, names)
        if known and again_when_quiet and known.get("other_work", 0) > BUSY >= share_now():
            known = None
        if known is None:
            work = OtherWork()
            found = measure()
            known = {**key, **found, "other_work": round(work.share(), 3)}
            write_json(path, known)
    return known


def _read(path: Path, key: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """Return a stored measurement; None where there is none of this key that can be read."""
    try:
        known = read_json(path)
        times = record_of(_Measurement, known, path, "it is measured again").milliseconds
    except (FileNotFoundError, CorruptFileError):
        return None
    same = {name: known.get(name) for name in key} == jsonable(dict(key))
    return known if same and set(times) <= set(names) and known["fastest"] in times else None


def measured(
    makers: Makers, batches: Sequence[Tensor], stand_ins: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the shortest milliseconds a frame of each way, and why others were left out.

    Args:
        makers: functions that make the runtime of each way, by name; the first wins a tie.
        batches: tiles of one frame, one batch for each tile size.
        stand_ins: ways that are tried only where another one fails; that one's name by theirs.
    """
    few = [batch[:_FEW_TILES] for batch in batches]
    ready: dict[str, Runtime] = {}
    left_out: dict[str, str] = {}
    for name, make in makers.items():
        instead_of = (stand_ins or {}).get(name)
        if instead_of in ready:
            left_out[name] = f"{instead_of} can be used and was never slower"
            continue
        try:
            runtime = make()
            milliseconds_of(runtime, few)  # converts, sets itself up
            ready[name] = runtime
        except (RuntimeMissingError, RuntimeFailedError) as error:
            left_out[name] = str(error)
    if sum(map(len, few)) < sum(map(len, batches)):
        left_out |= _drop_far_slower(ready, few)
        for runtime in ready.values():
            milliseconds_of(runtime, batches)  # sets itself up for that many
    shortest = _shortest(ready, batches)
    fastest = min(shortest, key=lambda name: shortest[name]) if shortest else None
    return {"fastest": fastest, "milliseconds": shortest, "left_out": left_out}


def _drop_far_slower(ready: dict[str, Runtime], few: Sequence[Tensor]) -> dict[str, str]:
    """Drop the ways that take far longer for a few tiles; return their names and why."""
    took = {name: milliseconds_of(runtime, few) for name, runtime in ready.items()}
    best, tiles = min(took.values(), default=0.0), sum(map(len, few))
    slow = {name for name, each in took.items() if each > _FAR_SLOWER * best}
    for name in slow:
        del ready[name]
    return {name: f"{took[name]:.0f} ms for {tiles} tiles, {best:.0f} ms is best" for name in slow}


def _shortest(ready: Mapping[str, Runtime], batches: Sequence[Tensor]) -> dict[str, float]:
    shortest: dict[str, float] = {}
    running = list(ready)
    started = time.perf_counter()
    for _ in range(_ROUNDS):
        for name in running:
            took = milliseconds_of(ready[name], batches)
            shortest[name] = min(took, shortest.get(name, took))
        best = min(shortest.values(), default=0.0)
        running = [name for name in running if shortest[name] <= _CLEARLY_SLOWER * best]
        if len(running) < 2 or time.perf_counter() - started > _LONGEST_S:
            break
    return shortest


@torch.no_grad()
def milliseconds_of(runtime: Runtime, batches: Sequence[Tensor]) -> float:
    """Return the milliseconds that a runtime takes for the tiles of one frame.

    Args:
        runtime: to be timed.
        batches: tiles, one batch for each tile size.
    """
    started = time.perf_counter()
    for batch in batches:
        tokens = runtime(batch)
        if tokens.is_cuda:
            torch.cuda.synchronize(tokens.device)
    return round((time.perf_counter() - started) * 1000, 3)
