"""The command line: ``s2robot VERB ...``; ``train-policy`` is ``s2robot train``."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from rich.console import Console
from rich.table import Table

import s2robot
from s2robot.cli.renamed_keys import with_new_flags, with_new_keys
from s2robot.errors import LicenseWarning, S2RobotError, unknown

USER_ERRORS = (S2RobotError, ValueError, KeyError, FileNotFoundError)
"""What a user can mend: printed without a traceback unless S2ROBOT_DEBUG is set."""


@dataclass(frozen=True)
class Verb:
    """One command: what it does, an example, and where its code is."""

    name: str
    summary: str
    examples: tuple[str, ...]
    task: str
    """``module:function``; takes a Hydra configuration where ``hydra`` is set, else words."""
    hydra: bool = True
    begin: str | None = None
    """``module:function`` called with the words first; its verb is a Hydra multirun."""
    finish: str | None = None
    """``module:function`` called with the words when all Hydra jobs are done."""


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "collect",
            "Collect demonstrations from the scripted expert into a robomimic HDF5 file.",
            (
                "s2robot collect level=precise episodes=120",
                "s2robot collect level=easy out=data/easy.hdf5 seed=1",
            ),
            "s2robot.cli.hydra_commands:collect",
        ),
        Verb(
            "features",
            "Encode the frames of demonstrations into the feature store, one scale at a time.",
            ("s2robot features level=precise encoder=s2r-vitt16-128 'scales=[1,2]'",),
            "s2robot.cli.hydra_commands:features",
        ),
        Verb(
            "pretrain",
            "Pre-train an encoder by masked autoencoding on rendered frames, or on your own.",
            (
                "s2robot pretrain out=runs/pretrain",
                "s2robot pretrain recipe=vits out=runs/vits        # or vitb, vitl: a ladder",
                "s2robot pretrain 'source=[photos,run1.mp4,demos.hdf5]' out=runs/mine",
                "s2robot pretrain 'sampling.scales=[1]' 'sampling.weights=[1]'  # without S² views",
                "torchrun --nproc_per_node=8 $(which s2robot) pretrain recipe=vitb",
                "s2robot features encoder=file:runs/pretrain/encoder.json",
            ),
            "s2robot.cli.hydra_commands:pretrain",
        ),
        Verb(
            "train",
            "Train a behaviour-cloning policy on embeddings of demonstrations.",
            (
                "s2robot train level=precise 'scales=[1,2]' policy=mlp seed=0",
                "s2robot train encoder=random/vitt16-128 policy=rnn_gmm budget=quick",
                "s2robot train encoder=privileged_state  # baselines: this one, blind",
            ),
            "s2robot.cli.hydra_commands:train",
        ),
        Verb(
            "eval",
            "Roll a policy out on fixed initial conditions and report its success rate.",
            ("s2robot eval checkpoint=runs/cells/NAME/policy.safetensors n=64 split=test",),
            "s2robot.cli.hydra_commands:evaluate",
        ),
        Verb(
            "sweep",
            "Train and evaluate every combination of the given choices, then write the report.",
            (
                "s2robot sweep 'scales=[1],[1,2],[1,2,3]' seed=0,1,2 level=easy,precise",
                "s2robot sweep encoder=s2r-vitt16-128,random/vitt16-128,privileged_state,blind",
                "s2robot sweep hydra/launcher=joblib hydra.launcher.n_jobs=4",
            ),
            "s2robot.cli.hydra_commands:sweep_run",
            begin="s2robot.cli.hydra_commands:sweep_begin",
            finish="s2robot.cli.hydra_commands:sweep_finish",
        ),
        Verb(
            "report",
            "Write one HTML page and a picture from evaluated cells.",
            ("s2robot report runs/cells --out runs/report",),
            "s2robot.cli.hydra_commands:report",
            hydra=False,
        ),
        Verb(
            "demo",
            "From nothing to a report: (1) against (1,2) with the shipped encoder, and controls.",
            ("s2robot demo", "s2robot demo --quick"),
            "s2robot.cli.demo:main",
            hydra=False,
        ),
        Verb(
            "encoders",
            "List the encoders there are; show, fetch or verify one.",
            (
                "s2robot encoders",
                "s2robot encoders mvp-vitb-egosoup",
                "s2robot encoders verify r3m-resnet50",
            ),
            "s2robot.cli.encoders:main",
            hydra=False,
        ),
        Verb(
            "bench",
            "Time an encoder frame by frame on this machine; --hz says pass or fail.",
            (
                "s2robot bench s2r-vitt16-128 --scales 1 2 --hz 30",
                "s2robot bench --runtime eager openvino openvino-int8 --calibrate episode.mp4",
            ),
            "s2robot.cli.bench:main",
            hydra=False,
        ),
        Verb(
            "probe",
            "Probe frozen features for the cube's place, grasp, segments and depth, at each scale.",
            (
                "s2robot probe --quick",
                "s2robot probe s2r-vitt16-128 random/vitt16-128 --scales 1 1,2 --layers last 5",
            ),
            "s2robot.cli.probe:main",
            hydra=False,
        ),
        Verb(
            "export",
            "Write an encoder as one ONNX file from camera frames to embeddings, and check it.",
            (
                "s2robot export s2r-vitt16-128 --scales 1 2 --frame 480x640 --out encoder.onnx",
                "s2robot export --policy policy.safetensors --frame 480x640 --out encoder.onnx",
            ),
            "s2robot.cli.export:main",
            hydra=False,
        ),
        Verb(
            "encode-bag",
            "Turn a ROS 1 or ROS 2 bag of pictures into a bag of embeddings, headers kept.",
            (
                "s2robot encode-bag run.mcap run.embeddings.mcap --scales 1 2 --copy /joint_states",
                "s2robot encode-bag run.bag run.embeddings.bag --policy policy.safetensors",
            ),
            "s2robot.cli.encode_bag:main",
            hydra=False,
        ),
        Verb(
            "reconstruct",
            "How much of a larger encoder's features do more scales of a smaller one recover?",
            (
                "s2robot reconstruct --target vc1-vitl --source vc1-vitb --scales 1 1,2 1,2,3",
                "s2robot reconstruct --target file:runs/big/encoder.json --source s2r-vitt16-128",
            ),
            "s2robot.cli.reconstruct:main",
            hydra=False,
        ),
        Verb(
            "doctor",
            "Say what renderer, GPU, versions and weights there are, and how to mend the rest.",
            ("s2robot doctor",),
            "s2robot.cli.doctor:main",
            hydra=False,
        ),
    )
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    # Torch's threads spin while they wait for each other: with anything else running, five times
    # slower than sleeping (measured with two threads on a busy two-core machine).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = sys.argv[1:] if argv is None else argv
    warnings.formatwarning = _plain_licenses
    if not argv or argv[0] in ("-h", "--help", "help"):
        _print_overview()
        return 0
    if argv[0] == "--version":
        print(f"s2robot {s2robot.__version__}")
        return 0
    try:
        return _run(argv[0], argv[1:])
    except USER_ERRORS as error:
        if os.environ.get("S2ROBOT_DEBUG"):
            raise
        _print_error(error)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; rerun the same command to go on")
        return 130


_formatwarning = warnings.formatwarning


def _plain_licenses(message: Any, category: type[Warning], *where: Any, **rest: Any) -> str:
    """Print licenses and renamed options as lines without a place in the code."""
    if issubclass(category, (LicenseWarning, FutureWarning)):
        return f"note: {message}\n"
    return _formatwarning(message, category, *where, **rest)


def train_policy() -> int:
    """Entry point of ``train-policy``."""
    return main(["train", *sys.argv[1:]])


def _run(name: str, argv: list[str]) -> int:
    if name not in VERBS:
        raise unknown("command", name, VERBS)
    verb = VERBS[name]
    argv = with_new_keys(argv) if verb.hydra else with_new_flags(argv)
    if verb.hydra and any(word in ("-h", "--help") for word in argv):
        _print_help(verb)
        return 0
    if verb.hydra:
        return _run_hydra(verb, argv)
    return int(_load(verb.task)(argv) or 0)


def _load(task: str):
    module, function = task.split(":")
    return getattr(importlib.import_module(module), function)


def _run_hydra(verb: Verb, argv: list[str]) -> int:
    import hydra

    sys.argv = [f"s2robot {verb.name}", *argv]
    if verb.begin:
        _load(verb.begin)(argv)
        sys.argv.append("--multirun")
    task = _load(verb.task)
    decorate = hydra.main(
        version_base="1.3", config_path="pkg://s2robot.configs", config_name=verb.name
    )
    decorate(_guarded(task))()
    return _load(verb.finish)(argv) if verb.finish else 0


def _guarded(task: Callable[[Any], None]) -> Callable[[Any], None]:
    """Print a user's mistake as one line; Hydra would wrap it in a traceback."""

    @functools.wraps(task)
    def run(config: Any) -> None:
        try:
            task(config)
        except USER_ERRORS as error:
            if os.environ.get("S2ROBOT_DEBUG"):
                raise
            _print_error(error)
            raise SystemExit(2) from None

    return run


def _print_overview() -> None:
    console = Console()
    console.print(f"s2robot {s2robot.__version__}: {_first_line()}\n", highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for verb in VERBS.values():
        table.add_row(f"[bold]{verb.name}[/bold]", verb.summary)
    console.print(table)
    console.print("\n`s2robot VERB --help` shows its settings and examples.", highlight=False)


def _first_line() -> str:
    return (s2robot.__doc__ or "").splitlines()[0]


def _print_help(verb: Verb) -> None:
    """Summary, examples and the commented settings: the YAML is the documentation."""
    console = Console()
    lines = [f"{verb.summary}\n", *(f"  {example}" for example in verb.examples)]
    lines.append("\nSettings and their defaults (give NAME=VALUE, nested ones GROUP.NAME=VALUE):\n")
    text = (_settings_folder() / f"{verb.name}.yaml").read_text()
    if "  - variant\n" in text:
        lines.append(_without_defaults((_settings_folder() / "variant.yaml").read_text()))
    lines.append(_without_defaults(text))
    lines += [_group_help(group) for group in ("policy", "budget") if f"  - {group}:" in text]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _settings_folder() -> Any:
    return resources.files("s2robot.configs")


def _without_defaults(text: str) -> str:
    """A settings file without its first comment, Hydra's defaults list and Hydra's own settings."""
    blocks = [block for block in text.split("\n\n") if not block.startswith("hydra:")]
    blocks[0] = "\n".join(
        line for line in blocks[0].splitlines() if not line.startswith(("#", "defaults:", "  - "))
    )
    return "\n".join(block for block in blocks if block.strip()).rstrip()


def _group_help(group: str) -> str:
    files = sorted((_settings_folder() / group).iterdir(), key=lambda path: path.name)
    rows = [f"  {group}={f.name[:-5]:12} {_headline(f.read_text())}" for f in files]
    return "\n".join(["", *rows])


def _headline(text: str) -> str:
    """The first comment that is not a directive to Hydra."""
    return next(line[2:] for line in text.splitlines() if not line.startswith("# @"))


def _print_error(error: BaseException) -> None:
    message = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
    console = Console(stderr=True)
    console.print("[red bold]error:[/red bold]", end=" ")
    console.print(str(message), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
