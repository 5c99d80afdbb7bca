"""What lies in a folder of runs: runs for a report, and what a report cannot use, with the reason.

A folder with a ``cell.json`` is a run. `s2robot sweep` and `s2robot decide` write it, and so does
`s2robot eval` for policies of `s2robot train`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2robot.envs.tasks.names import has_module, is_foreign
from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation.config import EvalConfig
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.identity import RECORD_FORMAT, rollout_record
from s2robot.evaluation.initial_states import InitialStates
from s2robot.evaluation.results import Summary
from s2robot.experiments.sequential_sweep import FILE as SEQUENTIAL
from s2robot.experiments.settings import POLICY, TRAINING
from s2robot.experiments.sweeps.shards import is_shard
from s2robot.policies.action_space import RECORDED
from s2robot.policies.checkpoint import read_header
from s2robot.utils.command_lines import command
from s2robot.utils.io import paths_below
from s2robot.utils.provenance import deciding_versions

NOT_DESCRIBED = (
    f"no {TRAINING} of this policy lies beside its file, so its training is not known. Repeat the "
    "`s2robot train` that made it (the policy is kept), then the `s2robot eval`"
)
MOST_NAMED = 4
"""Folders that a message names."""


@dataclass(frozen=True)
class Unused:
    """Something in a folder of runs that a report cannot use."""

    where: str
    """Path below the folder of runs, or a name of a run."""
    reason: str


def find_runs(folder: str | Path) -> list[Path]:
    """Return the folders of all runs under ``folder``, at any depth.

    Raises:
        S2RobotError: there is none; the message names what is there, and what makes runs.
    """
    runs = sorted(path.parent for path in paths_below(folder, "cell.json"))
    if runs:
        return runs
    found = "".join(f"\n  {each.where}: {each.reason}" for each in unused(folder))
    raise S2RobotError(
        f"no runs under {folder}{_state(Path(folder))}: looked for folders with a cell.json, at "
        "any depth. They are written by `s2robot sweep`, `s2robot decide`, and `s2robot eval` of a "
        "policy that `s2robot train` made. Run one of these, or give the folder of the runs "
        "(runs/cells where runs_dir is not given)" + (found and f"\nfound:{found}")
    )


def finished_run(folder: Path, initial_states: InitialStates, config: EvalConfig) -> Summary | None:
    """Return the summary of a run whose policy file was taken away after its episodes were done.

    So runs can be kept, and added to, without their weights, which are most of their size.

    Args:
        folder: of the run; its name holds the digest of all that decided the training.
        initial_states: that were asked for.
        config: of the rollouts that were asked for.

    Returns:
        None where there is a policy file, or episodes are missing, or they are of other initial
        states, settings or versions, or of a runtime that is not exact.

    Raises:
        CorruptFileError: ``run.json`` or the episodes are damaged.
        MismatchError: the initial states have the same numbers but are others, so that a policy
            which is trained again could not be rolled out there either.
    """
    needed = ("cell.json", "run.json", "episodes.jsonl", "summary.json", TRAINING)
    if (folder / POLICY).exists() or not all((folder / name).exists() for name in needed):
        return None
    run = RunFolder(folder, config.num_envs)
    record = run.record()
    _check_drawn_alike(folder, record["conditions"], initial_states.record())
    rollout, inference = record["rollout"], record["inference"]
    horizon = config.horizon or rollout["horizon"]
    same = (
        (inference is None or inference["runtime"]["exact"])
        and record["conditions"] == initial_states.record()
        and record["versions"] == deciding_versions()
        and rollout == rollout_record(config, horizon, inference is not None, inference)
    )
    return run.summary() if same else None


def _check_drawn_alike(folder: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    numbers = ("split", "first", "n")
    if there["hash"] == now["hash"] or any(there[name] != now[name] for name in numbers):
        return
    raise MismatchError(
        f"{folder} holds finished episodes from other initial states of the same numbers "
        f"({now['split']}, {now['n']} from {now['first']} on): their hash is {there['hash'][:16]} "
        f"there and {now['hash'][:16]} now. Another release or machine may draw them with other "
        "last digits: put the files of its data_dir/conditions into this data_dir, or give another "
        "folder with runs_dir="
    )


def _state(folder: Path) -> str:
    """Return what is wrong with a folder itself, for a message."""
    if not folder.exists():
        return ", which does not exist"
    if not folder.is_dir():
        return ", which is a file"
    return "" if any(folder.iterdir()) else ", which is empty"


def unused(folder: str | Path) -> list[Unused]:
    """Return episodes, policies and failures in a folder of runs that a report cannot use.

    Args:
        folder: of the runs; records of failures lie in it, or beside it.
    """
    root = Path(folder)
    found = [Unused(_below(path, root), reason) for path, reason in _undescribed(root)]
    if not any((place / SEQUENTIAL).exists() for place in (root, root.parent)):
        found += _without_episodes(root)  # a sequential sweep trains seeds that it may not need
    failed = failed_runs(root) + (failed_runs(root.parent) if root.name == "cells" else [])
    return found + [Unused(name, f"failed: {message}") for name, message in failed]


def _undescribed(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield folders with episodes that have no description, and why."""
    folders = {
        path.parent for name in ("run.json", "episodes.jsonl") for path in paths_below(root, name)
    }
    for folder in sorted(folders):
        if (folder / "cell.json").exists():
            continue
        if is_shard(folder):
            yield folder, "a shard of an evaluation, which is merged when the others are there"
            continue
        record = _read(folder / "run.json")
        if record.get("format", 1) != RECORD_FORMAT:
            seen = record.get("format", "unknown")
            reason = f"episodes in format {seen}; this version of s2robot reads {RECORD_FORMAT}"
            yield folder, f"{reason}. Evaluate the policy again, into another folder with out="
        elif described := [place for place in (folder, folder.parent) if _is_described(place)]:
            again = command("eval", **_arguments(described[0] / POLICY, folder, record))
            yield folder, f"its evaluation wrote no cell.json; repeat it: {again}"
        else:
            yield folder, f"evaluated by hand, and {NOT_DESCRIBED}"


def _is_described(folder: Path) -> bool:
    return (folder / POLICY).exists() and (folder / TRAINING).exists()


def _arguments(checkpoint: Path, folder: Path, record: dict[str, Any]) -> dict[str, str | Path]:
    """Return the settings of the evaluation that wrote a folder's episodes, as far as known."""
    states, task = (_entries(record.get(name)) for name in ("conditions", "task"))
    found: dict[str, Any] = {"checkpoint": checkpoint}
    name = str(task.get("level", folder.name))
    if is_foreign(name):
        found["task"] = name  # no file may decide which module is imported
    elif folder != checkpoint.parent:
        found["level"] = name
    return found | ({"n": str(states["n"])} if "n" in states else {})


def _without_episodes(root: Path) -> list[Unused]:
    """Return an entry for policies that have no episodes, and one for unfinished trainings."""
    training = [path.parent for path in paths_below(root, "training") if path.is_dir()]
    training = [folder for folder in training if not (folder / POLICY).exists()]
    found = []
    if training:
        reason = "the training was interrupted, failed or still runs; repeat the command"
        found.append(Unused(_listed(training, root), reason))
    cells = paths_below(root, "cell.json")
    names = {path.parent.name for path in cells} | {str(_read(path).get("name")) for path in cells}
    folders = [path.parent for path in paths_below(root, POLICY) if not _has_episodes(path.parent)]
    folders = [folder for folder in folders if folder.name not in names]
    recorded = [folder for folder in folders if _trained_on(folder) == RECORDED]
    groups = {
        "trained, and not evaluated": [folder for folder in folders if folder not in recorded],
        "trained on recorded data, and rolled out in no task": recorded,
    }
    for what, own in groups.items():
        if own:
            found.append(Unused(_listed(own, root), f"{what}: {how_to_evaluate(own[0])}"))
    return found


def how_to_evaluate(folder: Path) -> str:
    """Return the command that evaluates a policy, and what it needs besides.

    Args:
        folder: of the policy file.
    """
    task = _trained_on(folder)
    if task == RECORDED:
        return (
            f"{command('eval', checkpoint=folder / POLICY, task='NAME')}, where NAME is a task "
            "with the cameras, observations and actions of the data: gym:ID, module:path.to.Task "
            "or pick-cube/LEVEL. Without one there is no success rate, and the page of the policy "
            "has its error on held-out episodes"
        )
    named = {"task": task} if has_module(task) else {}
    return command("eval", checkpoint=folder / POLICY, **named)


def _trained_on(folder: Path) -> str:
    """Return the task of a policy's demonstrations, or ``RECORDED``; empty if it is not known."""
    try:
        header = read_header(folder / POLICY)
    except (S2RobotError, OSError):  # damaged, or of another version; `eval` says so
        return ""
    recorded = header.action_space["control"] == RECORDED
    return RECORDED if recorded else str(header.level or "")


def _listed(folders: Sequence[Path], root: Path) -> str:
    """Return the first folders as text, and the number of the others."""
    more = len(folders) - MOST_NAMED
    text = ", ".join(_below(folder, root) for folder in folders[:MOST_NAMED])
    return text + (f" and {more} more" if more > 0 else "")


def _has_episodes(folder: Path) -> bool:
    return bool(paths_below(folder, "run.json"))


def failed_runs(runs_dir: Path, digests: Collection[str] | None = None) -> list[tuple[str, str]]:
    """Return the names and messages of runs that a sweep could not finish.

    Args:
        runs_dir: folder of all runs.
        digests: of the runs that are asked about; None for all.
    """
    found = []
    for path in sorted(runs_dir.glob("failed/*/error.json")):
        if digests is not None and path.parent.name not in digests:
            continue
        record = _read(path)
        name = _name(record.get("config")) or path.parent.name
        found.append((name, str(record.get("error", f"{path} cannot be read"))))
    return found


def _name(config: Any) -> str:
    """Return what tells a failed run from others: level, encoder, scales, policy, seed."""
    if not isinstance(config, dict) or not isinstance(config.get("variant"), dict):
        return ""
    variant, policy = config["variant"], config.get("policy")
    scales = ",".join(str(scale).removesuffix(".0") for scale in _items(variant.get("scales")))
    kind = policy.get("kind") if isinstance(policy, dict) else policy
    words = [variant.get("level"), f"{variant.get('encoder')} ({scales})", kind]
    return ", ".join([*(str(word) for word in words if word), f"seed {config.get('seed')}"])


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return _entries(content)


def _entries(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root))
