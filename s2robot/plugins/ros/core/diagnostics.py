"""Counters as entries of ``diagnostic_msgs/DiagnosticStatus``: level, message, pairs of text."""

from __future__ import annotations

from dataclasses import dataclass

from s2robot.plugins.ros.core.counters import COUNTS, RECENT_S, CounterSnapshot, Spread
from s2robot.plugins.ros.core.log_throttle import Level
from s2robot.plugins.ros.core.policy.runner import PolicyCounts
from s2robot.plugins.ros.core.time_synchronizer import SyncCounts

SILENT_S = 1.0
"""A channel without frames for longer than this has an error [s]."""


@dataclass(frozen=True)
class Status:
    """One entry of ``/diagnostics``."""

    name: str
    level: Level
    message: str
    values: dict[str, str]
    """Values by key, both text."""


def channel_status(
    name: str,
    snapshot: CounterSnapshot,
    enabled: bool = True,
    stale_s: float = 0.0,
    clock_silent: bool = False,
    cause: str = "",
) -> Status:
    """Return the status of a channel.

    ERROR: the channel publishes nothing although it should (no frames arrive, or none of them is
    published). WARN: some frames failed in the last ``RECENT_S``, or stamps are from another clock.
    Frames that a newer one replaced are not an error; their number is in the values.

    Args:
        name: name of the status.
        snapshot: counts of the channel.
        enabled: whether the channel accepts frames.
        stale_s: the worker's limit [s], also for stamps in the future.
        clock_silent: whether the node's clock has not begun, so that stamps have no age.
        cause: why no frames arrive, and how to fix it, where that is known.
    """
    level, message = _judge(snapshot, enabled, stale_s, clock_silent)
    if enabled and is_silent(snapshot):
        message = _with_cause(message, cause)
    return Status(name, level, message, channel_values(snapshot))


def is_silent(snapshot: CounterSnapshot) -> bool:
    """Return whether no frame has arrived, or none for longer than ``SILENT_S``.

    Args:
        snapshot: counts of the channel.
    """
    return snapshot.since_received_s is None or snapshot.since_received_s > SILENT_S


def _with_cause(message: str, cause: str) -> str:
    return f"{message}: {cause}" if cause else message


def _judge(
    snapshot: CounterSnapshot, enabled: bool, stale_s: float, clock_silent: bool
) -> tuple[Level, str]:
    silent, mute = snapshot.since_received_s, snapshot.since_published_s
    recent = ", ".join(f"{kind} {count}" for kind, count in sorted(snapshot.recent.items()))
    if not enabled:
        return Level.OK, "switched off: nobody subscribes, or the node is inactive"
    if silent is None:
        return Level.WARN, "no frame has arrived yet"
    if silent > SILENT_S:
        return Level.ERROR, f"no frames for {silent:.1f} s"
    if recent and (mute is None or mute > SILENT_S):
        return Level.ERROR, f"nothing is published; failures in the last {RECENT_S:g} s: {recent}"
    if recent:
        return Level.WARN, f"failures in the last {RECENT_S:g} s: {recent}"
    if clock_silent:
        return Level.WARN, "the node's time is 0: use_sim_time is set, but /clock is silent"
    age = snapshot.age_s
    if age is not None and age.p50 < -max(stale_s, 0.05):
        return Level.WARN, f"stamps lie {-age.p50:.2f} s in the future: compare the clocks"
    if mute is None or mute > SILENT_S:
        return Level.WARN, "frames arrive, but no embedding has come out for a second"
    return Level.OK, f"{snapshot.published_hz:.1f} embeddings a second"


def channel_values(snapshot: CounterSnapshot) -> dict[str, str]:
    """Return all numbers of a channel as text, with times in milliseconds."""
    values = {
        "received_hz": f"{snapshot.received_hz:.2f}",
        "published_hz": f"{snapshot.published_hz:.2f}",
        **{name: str(getattr(snapshot, name)) for name in COUNTS},
        "backwards": str(snapshot.backwards),
        "failed": str(snapshot.failures),
    }
    values |= {f"failed_{kind}": str(count) for kind, count in sorted(snapshot.failed.items())}
    for name in ("encode", "wait", "overhead", "age"):
        values |= _spread(name, getattr(snapshot, f"{name}_s"))
    if snapshot.hit_rate is not None:
        values["reuse_hit_rate"] = f"{snapshot.hit_rate:.4f}"
    return values


def _spread(name: str, spread: Spread | None) -> dict[str, str]:
    if spread is None:
        return {}
    return {
        f"{name}_p50_ms": f"{1000 * spread.p50:.2f}",
        f"{name}_p95_ms": f"{1000 * spread.p95:.2f}",
    }


def sync_status(name: str, counts: SyncCounts, before: SyncCounts | None = None) -> Status:
    """Return the status of the synchronization of cameras.

    Args:
        name: name of the status.
        counts: counts since the start.
        before: counts at the last status, if there was one; level and message are about the time
            since then.
    """
    sets = counts.sets - (before.sets if before else 0)
    missing = {
        camera: number - (before.missing[camera] if before else 0)
        for camera, number in counts.missing.items()
    }
    absent = ", ".join(f"{camera} ({number} times)" for camera, number in missing.items() if number)
    level, message = Level.OK, f"{sets} sets"
    if absent:
        level = Level.WARN if sets else Level.ERROR
        message = f"{sets} sets; without a frame within the slop: {absent}"
    values = {"sets": str(counts.sets), "backwards": str(counts.backwards)}
    values["unstamped"] = str(counts.unstamped)
    for kind in ("received", "unmatched", "missing"):
        numbers: dict[str, int] = getattr(counts, kind)
        values |= {f"{kind}_{camera}": str(number) for camera, number in numbers.items()}
    return Status(name, level, message, values)


def policy_status(name: str, counts: PolicyCounts, cause: str = "") -> Status:
    """Return the status of a policy: whether it acts, and if not, the reason.

    Args:
        name: name of the status.
        counts: counts of the policy's runner.
        cause: why no joint states arrive, and how to fix it, where that is known.
    """
    level = Level.ERROR if counts.paused else Level.OK
    message = f"no actions: {counts.message}" if counts.paused else f"{counts.actions} actions"
    message = _with_cause(message, cause)
    values = {"actions": str(counts.actions), "resets": str(counts.resets)}
    values |= {f"paused_{kind}": str(number) for kind, number in sorted(counts.pauses.items())}
    return Status(name, level, message, values)
