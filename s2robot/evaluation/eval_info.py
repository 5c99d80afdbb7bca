"""``eval_info.json``: an evaluation as ``lerobot-eval`` writes it, so that other tools read it.

The keys are those of LeRobot 0.6.1. A success is the cube lifted at any step, as LeRobot counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s2robot.utils.io import write_json


def write_eval_info(
    path: Path,
    level: str,
    rows: Sequence[Mapping[str, Any]],
    timing: Sequence[Mapping[str, Any]],
    videos: Sequence[str],
) -> None:
    """Write the evaluation of one policy on one level.

    Args:
        path: of the file.
        level: of the initial states; LeRobot's task group.
        rows: of ``episodes.jsonl``.
        timing: of ``timing.jsonl``; its durations [ms] give LeRobot's ``eval_s``.
        videos: paths of the videos, relative to the folder of the file.
    """
    write_json(path, eval_info(level, rows, timing, videos))


def eval_info(
    level: str,
    rows: Sequence[Mapping[str, Any]],
    timing: Sequence[Mapping[str, Any]],
    videos: Sequence[str],
) -> dict[str, Any]:
    """Return the content of ``eval_info.json``.

    Args:
        level: as in ``write_eval_info``.
        rows: as in ``write_eval_info``.
        timing: as in ``write_eval_info``.
        videos: as in ``write_eval_info``.

    Examples:
        >>> rows = [
        ...     {"success_once": True, "steps_lifted": 5},
        ...     {"success_once": False, "steps_lifted": 0},
        ... ]
        >>> found = eval_info("easy", rows, [{"start": 0, "env": [3.0, 5.0]}], [])
        >>> found["overall"]["pc_success"], found["per_task"][0]["metrics"]["sum_rewards"]
        (50.0, [5.0, 0.0])
    """
    metrics = {
        "sum_rewards": [float(row["steps_lifted"]) for row in rows],  # 1.0 on each of these steps
        "max_rewards": [float(row["success_once"]) for row in rows],
        "successes": [bool(row["success_once"]) for row in rows],
        **_paths(videos),
    }
    means = {
        "avg_sum_reward": statistics.fmean(metrics["sum_rewards"]),
        "avg_max_reward": statistics.fmean(metrics["max_rewards"]),
        "pc_success": 100 * statistics.fmean(metrics["successes"]),
        "n_episodes": len(rows),
    }
    seconds = _seconds(timing)
    durations = {"eval_s": seconds, "eval_ep_s": seconds / len(rows)}
    return {
        "per_task": [{"task_group": level, "task_id": 0, "metrics": metrics}],
        "per_group": {level: {**means, **_paths(videos)}},
        "overall": {**means, **durations, **_paths(videos)},
    }


def _paths(videos: Sequence[str]) -> dict[str, list[str]]:
    return {"video_paths": list(videos), "predicted_video_paths": []}


def _seconds(timing: Sequence[Mapping[str, Any]]) -> float:
    """Return the duration of all parts of all steps [s]."""
    parts = [series for batch in timing for key, series in batch.items() if key != "start"]
    return round(sum(sum(series) for series in parts) / 1000, 3)
