"""Advice in messages names commands, settings and flags that exist, as the user writes them."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from s2robot.cli.main import main
from s2robot.cli.settings.schema import JOBS, SHORT, groups_of, settings_of
from s2robot.cli.verbs import VERBS

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for folder in ("s2robot", "envs", "policies")
    for path in (ROOT / folder).rglob("*.py")
    if "parity" not in path.parts
)
COMMAND = re.compile(r"s2robot ([a-z][a-z-]*)((?: (?!{})[^\s`()]+)*)")
COMMAND_IN_QUOTES = re.compile(r"`s2robot ([\w-]+)([^`]*)`")
SETTING = re.compile(r"(?<![\w.{%?&/:'\"-])([a-z_]+(?:\.[a-z_]+)*)=(?!=)([^\s,;)`']*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
OF_COMMAND = re.compile(r"(?<![\w.])([a-z_.]+)=\S* of (\w+)")
CALL = re.compile(r"[\w\]]\([^()]*$")
FRONTS = {
    "s2robot/pretraining": ("pretrain",),
    "s2robot/training": ("train", "sweep"),
    "s2robot/evaluation": ("eval", "sweep"),
    "s2robot/data/collection.py": ("collect", "features"),
    "s2robot/data/config.py": ("collect", "features"),
    "s2robot/data/demonstrations.py": ("collect", "features"),
    "s2robot/data/datasets": ("train", "features"),
    "s2robot/experiments": tuple(JOBS),
    "s2robot/reporting": tuple(JOBS),
    "s2robot/cli/hydra_commands.py": tuple(JOBS),
    "s2robot/cli/settings": tuple(JOBS),
    "s2robot/cli/decide.py": ("sweep",),
    "s2robot/cli/sweeps/progress.py": ("sweep",),
    "s2robot/cli/parsers/decide.py": ("sweep",),
    "s2robot/cli/demo.py": ("sweep", "collect"),
    "s2robot/plugins/robomimic/trained_policy.py": ("eval",),
    "envs/tasks/loading.py": ("collect", "features", "train", "eval", "sweep"),
}
"""Commands whose settings the messages of a module may name; none for those of other modules,
which are reached from Python, by settings, by flags and by ROS parameters."""

FLAGS = {
    "s2robot/cli/ros/camera.py": "ros2-camera",
    "s2robot/cli/ros/recorder.py": "ros2-record",
    "s2robot/cli/episodes/replay.py": "replay",
    "s2robot/experiments/replay/dataset.py": "export-dataset",
    "s2robot/cli/episodes/export_dataset.py": "export-dataset",
    "s2robot/experiments/replay": "replay",
    "s2robot/cli/recommend": "recommend",
    "s2robot/analysis/recommend": "recommend",
    "s2robot/analysis/probes": "probe",
    "s2robot/data/datasets/choice.py": "recommend",
    "s2robot/data/dataset_writers": "export-dataset",
    "s2robot/data/rosbag/writing.py": "encode-bag",
    "s2robot/export/onnx.py": "export",
    "s2robot/data/rendered_demonstrations.py": "export-dataset",
    "s2robot/data/task_facts.py": "export-dataset",
    "s2robot/plugins/lerobot/policy_file.py": "export-dataset",
    "s2robot/plugins/robomimic/configuration.py": "robomimic-train",
}
"""Commands whose flags the messages of a module may name, besides that of the module's own name."""


FLAGS_OF_OTHERS = {
    "s2robot/cli/ros/camera.py": {"--ros-args"},
    "s2robot/cli/ros/words.py": {"--ros-args"},
    "s2robot/plugins/ros/missing_ros.py": {"--ros-args", "--params-file"},
    "s2robot/data/datasets/lerobot_tables.py": {"--repo-id", "--root", "--push-to-hub"},
    "s2robot/plugins/lerobot/policy_file.py": {"--proprio"},
}
"""Flags of other packages' commands that the messages of a module give."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string of a module that is no documentation, {} for values."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node.value) for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            skipped |= {id(value) for value in node.values}
            text = "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and id(node) not in skipped:
            text = node.value if isinstance(node.value, str) else ""
        else:
            continue
        if len(text.split()) > 1 and not any(part in text for part in FOREIGN):
            yield node.lineno, text


@cache
def flags_of(verb: str) -> set[str]:
    if VERBS[verb].hydra:
        return {"--help", "--multirun"}
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([verb, "--help"])
    return set(re.findall(r"--[a-z][a-z-]*", text.getvalue()))


@cache
def names_of(verbs: tuple[str, ...]) -> set[str]:
    return {
        name
        for verb in verbs
        for name in (*settings_of(verb), *groups_of(verb), *SHORT.get(verb, ()))
    }


FOREIGN = (
    "ffmpeg -i", "colcon build", "torchrun ", "hydra/launcher=", "return_prefix_tokens=True",
    "Name the backbone, such as name=", "(mode='visual')", "pip install --",
)  # fmt: skip
"""Parts of texts on other programs, on Hydra's own settings and on calls from Python alone."""


def schema_of(verb: str) -> tuple[str, ...]:
    return ("sweep",) if verb == "decide" else (verb,) if verb in JOBS else ()


def fronts_of(path: Path) -> tuple[str, ...]:
    name = path.relative_to(ROOT).as_posix()
    return next((verbs for start, verbs in FRONTS.items() if name.startswith(start)), ())


def wrong_settings(path: Path, text: str) -> Iterator[str]:
    """Yield the words NAME=VALUE of a message that no command takes."""
    commands = [*COMMAND_IN_QUOTES.findall(text), *COMMAND.findall(text)]
    inside = {name: verb for verb, rest in commands for name, _ in SETTING.findall(rest)}
    named = {name: verb for name, verb in OF_COMMAND.findall(text) if verb in VERBS}
    for found in SETTING.finditer(text):
        name = found[1]
        if CALL.search(text[: found.start()]):  # a call in Python: np.repeat(frames, 3, axis=-1)
            continue
        verb = named.get(name) or inside.get(name)
        fronts = schema_of(verb) if verb else fronts_of(path)
        both = f"--{name.replace('_', '-')}" in FLAG.findall(text)  # as setting and as flag
        if name not in names_of(fronts) and not both:
            yield f"{found[0]} (settings of {', '.join(fronts) or 'no command'})"


def wrong_flags(path: Path, text: str) -> Iterator[str]:
    """Yield the flags of a message that belong to no command in it, nor to that of the module."""
    verbs = [verb for verb in VERBS if re.search(rf"s2robot {verb}\b", text)]
    verbs += list(VERBS) if re.search(r"s2robot (COMMAND|{})", text) else []
    own = path.stem.replace("_", "-")
    name = path.relative_to(ROOT).as_posix()
    verbs += [verb for start, verb in FLAGS.items() if name.startswith(start)]
    if path.parent.name in ("cli", "parsers"):
        verbs += [own] if own in VERBS else list(VERBS)
    taken = {flag for verb in verbs for flag in flags_of(verb)}
    taken |= FLAGS_OF_OTHERS.get(name, set())
    taken |= {f"--{name.replace('_', '-')}" for name, _ in SETTING.findall(text)}
    yield from (flag for flag in FLAG.findall(text) if flag not in taken)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_settings_and_flags_in_messages_exist_where_the_user_is(path: Path) -> None:
    wrong = []
    for line, text in prose(path):
        for verb in re.findall(r"`s2robot ([\w-]+)", text):
            wrong += [f"{line}: s2robot {verb}"] if verb not in VERBS else []
        for each in (*wrong_settings(path, text), *wrong_flags(path, text)):
            wrong.append(f"{line}: {each} in {text[:90]!r}")
    assert not wrong, "\n".join(wrong)
