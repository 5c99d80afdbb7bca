"""Reading of runs from disk; what is damaged or does not fit is named, and the rest is used."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.evaluation.identity import RECORD_FORMAT, differences
from s2robot.experiments.run_folders import find_runs, unused
from s2robot.reporting import METRICS
from s2robot.reporting.run_results import RunResult
from s2robot.utils.io import read_jsonl

STRIPS_PER_RUN = 2
"""Pictures of failed episodes that a report shows of a run."""
_LARGEST_INTEGER = 2**53
_TEXTS = ("name", "level", "label", "policy_kind")
_NUMBERS = ("parameters", "gflops_per_frame", "embedding_dim")
"""Entries that describe an encoder; a run can do without."""
_FURTHER = ("demos", "head", "provenance")
"""Further entries that a run can do without."""
_OF_ROWS = ("task", "camera", "rollout", "inference", "versions")
"""Sections of the settings that ``run.json`` has as well."""
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Control characters, and halves of surrogate pairs."""
_REPLACED = "holds characters that cannot be written; they are replaced"
_REPEAT = "repeat the run with `s2robot sweep`"


@dataclass(frozen=True)
class Problem:
    """Something in the folder of runs that is damaged, or does not fit to the rest.

    Examples:
        >>> print(Problem("run 3", "episodes.jsonl is damaged"))
        left out: run 3: episodes.jsonl is damaged
    """

    where: str
    text: str
    left_out: bool = True
    """False if what is concerned is in the report all the same."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _printable(self.text))

    def __str__(self) -> str:
        return f"{'left out' if self.left_out else 'noticed'}: {self.where}: {self.text}"


class _UnusableError(Exception):
    """Why a run cannot be used."""


def load_runs(folder: str | Path) -> list[RunResult]:
    """Return every usable run under ``folder``, at any depth.

    Raises:
        S2RobotError: there is none.
    """
    return read_runs(folder)[0]


def read_runs(folder: str | Path) -> tuple[list[RunResult], list[Problem]]:
    """Return every usable run under ``folder``, at any depth, and what is wrong with others.

    Each variant has each training seed once.

    Raises:
        S2RobotError: no run is usable.
    """
    runs: list[RunResult] = []
    problems: list[Problem] = []
    for path in find_runs(folder):
        reader = _RunReader(path, name_of(path, folder), problems)
        try:
            runs.append(reader.read())
        except _UnusableError as reason:
            problems.append(Problem(reader.name, str(reason)))
    runs = _without_twins(runs, folder, problems)
    problems += _misplaced_rows(runs, folder)
    problems += [Problem(_printable(each.where), each.reason) for each in unused(folder)]
    if not runs:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise S2RobotError(f"no usable run under {folder}:\n{listed}")
    return runs, problems


def name_of(path: Path, folder: str | Path) -> str:
    """Return the path of a run below the folder of runs, as text that can be written.

    Args:
        path: folder of the run.
        folder: of all runs.
    """
    return _printable(str(path.relative_to(folder)))


@dataclass(frozen=True)
class _RunReader:
    """The folder of one run, its name in messages, and the list for its problems."""

    folder: Path
    name: str
    problems: list[Problem]

    def note(self, text: str) -> None:
        self.problems.append(Problem(self.name, text, left_out=False))

    def read(self) -> RunResult:
        """Return the run, or raise an _UnusableError."""
        info = self._info()
        self._check_against_rows(info)
        rows = _rows(self.folder / "episodes.jsonl")
        summary = self._summary()
        return RunResult(self.folder, info, tuple(rows), summary, *self._media(summary))

    def _info(self) -> dict[str, Any]:
        info, oddities = _cleaned(_parsed(self.folder / "cell.json"), "")
        if not isinstance(info, dict):
            raise _UnusableError("cell.json holds no description of a run")
        _check_format(info.get("format", 1))
        numbers = [name for name, text in oddities.items() if text != _REPLACED]
        wrong = [name for name in numbers if name.startswith("settings.")]
        if wrong:
            raise _UnusableError(f"{wrong[0]} in cell.json {oddities[wrong[0]]}; {_REPEAT}")
        _check_deciding(info)
        for name in _NUMBERS:
            if name not in oddities and info.get(name, "missing") is None:
                continue  # an unknown cost, as policies that are not ours have
            if not _is_number(info.get(name)):
                text = oddities.pop(name, f"is {_short(info.get(name))}, no number from 0")
                self.note(f"{name} in cell.json {text}; it counts as unknown")
                info[name] = None
        for name, text in oddities.items():
            self.note(f"{name} in cell.json {text}")
        for name in _FURTHER:
            if not isinstance(info.get(name) or {}, Mapping):
                self.note(f"{name} in cell.json is {_short(info[name])}, not a list of entries")
                info[name] = None
        return info

    def _check_against_rows(self, info: dict[str, Any]) -> None:
        """Compare ``cell.json`` with ``run.json``, under which the episodes were made.

        `s2robot eval` can add episodes to a run of a sweep; their number is then of ``run.json``.
        """
        path = self.folder / "run.json"
        record = _cleaned(_parsed(path), "")[0] if path.exists() else {}
        states = record.get("conditions") if isinstance(record, dict) else None
        if not isinstance(states, dict) or not _are_conditions(states):
            return
        described = info["settings"]
        found = list(differences({k: described.get(k) for k in _OF_ROWS if k in record}, record))
        found = [entry for entry in found if entry[0].split(".")[0] in _OF_ROWS]
        own = info["conditions"]
        longer = {k: own.get(k) for k in ("split", "first")} == {
            k: states.get(k) for k in ("split", "first")
        }
        if own["hash"] != states.get("hash") and (not longer or own["n"] == states.get("n")):
            found.append(("initial states", own["hash"], states.get("hash")))
        if found:
            name, one, other = found[0]
            raise _UnusableError(
                f"cell.json does not describe these episodes: {name} is {_short(one)} there and "
                f"{_short(other)} in run.json; {_REPEAT}"
            )
        info["conditions"] = {**own, **states}

    def _summary(self) -> dict[str, Any]:
        path = self.folder / "summary.json"
        if not path.exists():
            return {}
        try:
            summary, oddities = _cleaned(_parsed(path), "")
        except _UnusableError as reason:
            self.note(f"{reason}: latencies and pictures of this run are missing")
            return {}
        for name, text in oddities.items():
            self.note(f"{name} in summary.json {text}")
        return summary if isinstance(summary, dict) else {}

    def _media(self, summary: Mapping[str, Any]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Return the pictures that can be shown, and the videos."""
        found = {}
        for kind in ("strips", "videos"):
            names = summary.get(kind) or []
            if not isinstance(names, list):
                self.note(f"{kind} in summary.json is {_short(names)}, not a list of paths")
                names = []
            paths = [self._inside(name) for name in names]
            found[kind] = [path for path in paths if path is not None]
        shown = [p for p in found["strips"][:STRIPS_PER_RUN] if self._can_be_shown(p)]
        return tuple(shown), tuple(found["videos"])

    def _inside(self, name: object) -> Path | None:
        """Return the path of a file of the run; None with a note if it is another's."""
        if not isinstance(name, str) or "\0" in name:
            self.note(f"{_short(name)} in summary.json is no path; the picture is left out")
            return None
        path = self.folder / name
        steps = [p for p in (path, *path.parents) if p.is_relative_to(self.folder)][:-1]
        try:
            away = Path(name).is_absolute() or any(step.is_symlink() for step in steps)
            away = away or not path.resolve().is_relative_to(self.folder.resolve())
        except OSError:  # a name that is too long
            away = True
        if away:
            self.note(f"{_short(name)} in summary.json leads out of the folder; it is left out")
        return None if away else path

    def _can_be_shown(self, path: Path) -> bool:
        if not path.is_file():
            return False
        try:
            with Image.open(path) as image:
                image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            self.note(f"{path.name} is no picture ({error}); it is left out")
            return False
        return True


def _check_format(found: object) -> None:
    if found == RECORD_FORMAT:
        return
    if found == 1:
        raise _UnusableError(
            "cell.json is of format 1, which does not name the settings that decide what the run "
            f"may be compared with; {_REPEAT}"
        )
    raise _UnusableError(
        f"cell.json is of format {_short(found)}; this version reads format {RECORD_FORMAT}"
    )


def _check_deciding(info: Mapping[str, Any]) -> None:
    """Check the entries without which a run cannot be used."""
    conditions, settings = info.get("conditions"), info.get("settings")
    encoder = settings.get("encoder") if isinstance(settings, dict) else None
    scales = encoder.get("scales", []) if isinstance(encoder, dict) else None
    checks = {
        **{name: isinstance(info.get(name), str) for name in _TEXTS},
        "seed": _is_number(info.get("seed"), int),
        "conditions": _are_conditions(conditions),
        "settings": isinstance(settings, dict)
        and isinstance(settings.get("task"), dict)
        and isinstance(settings.get("rollout", {}), dict),
        "settings.encoder": isinstance(encoder, dict)
        and isinstance(encoder.get("backbone"), str)
        and isinstance(scales, list)
        and all(_is_number(scale) and scale > 0 for scale in scales),
    }
    wrong = [name for name, right in checks.items() if not right]
    if wrong:
        seen = ", ".join(
            f"{name} is {_short(info[name])}" if name in info else f"{name} is missing or wrong"
            for name in wrong
        )
        raise _UnusableError(f"cell.json is damaged: {seen}; {_REPEAT}")


def _are_conditions(value: Any) -> bool:
    """Return whether a JSON value describes a set of initial states."""
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("hash"), str) and _is_number(value.get("n"), int) and value["n"] > 0


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = read_jsonl(path)
    except (CorruptFileError, OSError, ValueError, RecursionError) as error:
        raise _UnusableError(f"episodes.jsonl cannot be read ({error}); {_REPEAT}") from None
    for number, row in enumerate(rows, start=1):
        right = isinstance(row, dict) and {
            "index": _is_number(row.get("index"), int),
            "condition": isinstance(row.get("condition"), str),
            "stage": isinstance(row.get("stage"), str),
            **{metric: isinstance(row.get(metric), bool) for metric in METRICS},
        }
        if not right or not all(right.values()):
            wrong = [
                f"{name} is {_short(row.get(name))}" for name, ok in (right or {}).items() if not ok
            ]
            raise _UnusableError(
                f"line {number} of episodes.jsonl is not an episode "
                f"({', '.join(wrong) or _short(row)}); {_REPEAT}"
            )
    for name in ("index", "condition"):
        value, times = Counter(row[name] for row in rows).most_common(1)[0] if rows else ("", 1)
        if times > 1:
            raise _UnusableError(
                f"episodes.jsonl has {name} {_short(value)} {times} times; {_REPEAT}"
            )
    return rows


def _without_twins(
    runs: Sequence[RunResult], folder: str | Path, problems: list[Problem]
) -> list[RunResult]:
    """Return one run a variant and seed: that with most episodes, else the first by name."""
    kept: dict[tuple[str, int], RunResult] = {}
    for run in sorted(runs, key=lambda run: -len(run.rows)):  # stable: equal ones stay in order
        twin = kept.setdefault((run.variant_key, run.seed), run)
        if twin is not run:
            problems.append(
                Problem(
                    name_of(run.path, folder),
                    f"the same variant and seed as {name_of(twin.path, folder)}, which has "
                    f"{len(twin.rows)} episodes (here {len(run.rows)})",
                )
            )
    return [run for run in runs if any(run is other for other in kept.values())]


def _misplaced_rows(runs: Sequence[RunResult], folder: str | Path) -> list[Problem]:
    """Name runs whose episodes do not begin in the initial states that others of the set have."""
    votes: dict[tuple[str, int], Counter[str]] = {}
    for run in runs:
        for row in run.rows:
            place = run.info["conditions"]["hash"], row["index"]
            votes.setdefault(place, Counter())[row["condition"]] += 1
    found = []
    for run in runs:
        name = run.info["conditions"]["hash"]
        odd = sum(
            votes[name, row["index"]].most_common(1)[0][0] != row["condition"] for row in run.rows
        )
        if odd:
            text = (
                f"{odd} of {len(run.rows)} episodes begin in other initial states than those of "
                f"other runs on the same set {_short(name)}; they are not paired with them"
            )
            found.append(Problem(name_of(run.path, folder), text, left_out=False))
    return found


def _cleaned(value: Any, name: str) -> tuple[Any, dict[str, str]]:
    """Return a JSON value that can be written again, and what was wrong by dotted name.

    Numbers that JSON does not have become None, and characters that cannot be written "?".
    """
    if isinstance(value, dict):
        parts = {key: _cleaned(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}
        found = {_printable(key): part[0] for key, part in parts.items()}
    elif isinstance(value, list):
        parts = dict(enumerate(_cleaned(item, f"{name}[{i}]") for i, item in enumerate(value)))
        found = [part[0] for part in parts.values()]
    elif isinstance(value, str):
        text = _printable(value)
        return text, {} if text == value else {_printable(name): _REPLACED}
    elif isinstance(value, (int, float)) and not _is_finite(value):
        what = "is NaN" if value != value else "is infinite or too large"
        return None, {_printable(name): what}
    else:
        return value, {}
    return found, {where: text for _, odd in parts.values() for where, text in odd.items()}


def _is_finite(value: float) -> bool:
    limit = _LARGEST_INTEGER if isinstance(value, int) else math.inf
    return -limit < value < limit


def _is_number(value: object, kind: type | tuple[type, ...] = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and value >= 0  # pyright: ignore[reportOperatorIssue]


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _UnusableError(f"{path.name} cannot be read ({error}); {_REPEAT}") from None


def _printable(text: str) -> str:
    return _UNWRITABLE.sub("?", text)


def _short(value: object) -> str:
    text = _printable(repr(value))
    return text if len(text) <= 40 else f"{text[:20]}…"
