"""robomimic's own training, with ``S2Core`` registered and its traps removed."""

from __future__ import annotations

import contextlib
import random
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import robomimic.utils.file_utils as file_utils
import robomimic.utils.torch_utils as torch_utils
import robomimic.utils.train_utils as train_utils
from robomimic.scripts import train as script
from robomimic.utils.log_utils import PrintLogger

from s2robot.errors import S2RobotError
from s2robot.plugins.robomimic.configuration import (
    BOTTOM_UP,
    check_config,
    read_config,
    stored_bottom_up,
)
from s2robot.plugins.robomimic.modalities import kept_modalities
from s2robot.utils.process_state import restored_torch_settings


@dataclass(frozen=True)
class Trained:
    """What a training wrote."""

    folder: Path
    """Folder of the run, with ``config.json``, ``models``, ``logs`` and ``videos``."""
    checkpoints: tuple[Path, ...]
    """In the order in which they were saved."""


def train(
    path: Path,
    data: Path | None = None,
    name: str | None = None,
    out: Path | None = None,
    epochs: int | None = None,
) -> Trained:
    """Train as ``robomimic/scripts/train.py`` does, on robomimic's JSON configuration.

    The loop, the networks and the files are robomimic's. Other is: the configuration is checked
    first; ``train.output_dir`` is relative to the present folder, where robomimic takes the folder
    of its own package; a run of the same name stays, where robomimic asks whether to delete it;
    what fails raises an error. Random generators, threads and standard output are as before.

    Args:
        path: the configuration.
        data: file to train on, in place of ``train.data``.
        name: of the experiment, in place of ``experiment.name``.
        out: folder of the experiments, in place of ``train.output_dir``.
        epochs: number of epochs, in place of ``train.num_epochs``.

    Raises:
        CorruptFileError: the data cannot be read.
        FileNotFoundError: there is no such configuration, or no such data.
        S2RobotError: robomimic failed; the message has its own words.
        ValueError: the configuration does not fit robomimic or the data.
    """
    config = read_config(path)
    with config.values_unlocked():
        if data is not None:
            config.train.data = str(data)
        if name is not None:
            config.experiment.name = name
        if epochs is not None:
            config.train.num_epochs = epochs
        folder = Path(config.train.output_dir if out is None else out).expanduser()
        config.train.output_dir = str(folder.resolve())
    check_config(config)
    config.lock()
    device = torch_utils.get_torch_device(try_to_use_cuda=config.train.cuda)
    with _own_state(), _orientation(Path(config.train.data)), _folders() as made:
        try:
            script.train(config, device=device)
        except (S2RobotError, ValueError, OSError):
            raise
        except Exception as error:
            raise _explained(error, config) from error
    run = made[0]
    models = sorted((run / "models").glob("*.pth"), key=lambda file: file.stat().st_mtime_ns)
    return Trained(run, tuple(models))


def _explained(error: Exception, config: Any) -> S2RobotError:
    """Return an error of robomimic with the line that raised it."""
    places = traceback.extract_tb(error.__traceback__)
    last, making = places[-1], any(each.name.startswith("create_env") for each in places)
    place = f"{Path(last.filename).name}, line {last.lineno}"
    said = str(error) or (last.line or "")
    if isinstance(error, ImportError) and making:
        return S2RobotError(
            f"the environment of {config.train.data} cannot be made here: {said}. Install its "
            'package, or train without rollouts: "experiment": {"rollout": {"enabled": false}}'
        )
    return S2RobotError(
        f"robomimic stopped with {type(error).__name__}: {said} ({place}). S2ROBOT_DEBUG=1 prints "
        "the whole traceback"
    )


class _Log(PrintLogger):
    """robomimic's copy of what is printed, with what handlers of logs ask of a stream besides."""

    def flush(self) -> None:
        self.terminal.flush()

    def close(self) -> None:
        """Keep the streams open: libraries close theirs when the process ends."""

    def isatty(self) -> bool:
        return bool(self.terminal.isatty())


@contextlib.contextmanager
def _folders() -> Iterator[list[Path]]:
    """Yield a list that gets the folder of the run; a run of the same name is kept.

    robomimic asks on standard input whether to delete it, and takes "n" for a run beside it.
    """
    made: list[Path] = []
    original = train_utils.get_exp_dir

    def get_exp_dir(config: Any) -> tuple[str, str | None, str]:
        found = original(config)
        made.append(Path(found[0]).parent)
        return found

    train_utils.get_exp_dir = get_exp_dir
    train_utils.input = lambda _: "n"  # pyright: ignore[reportAttributeAccessIssue]
    script.PrintLogger = _Log
    try:
        yield made
    finally:
        train_utils.get_exp_dir, script.PrintLogger = original, PrintLogger
        del train_utils.input  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def _orientation(data: Path) -> Iterator[None]:
    """Let checkpoints say where the images of the training were stored bottom-up."""
    original = file_utils.get_env_metadata_from_dataset
    if not stored_bottom_up(data.expanduser()):
        yield
        return

    def get_env_metadata_from_dataset(*args: Any, **settings: Any) -> dict[str, Any]:
        return {**original(*args, **settings), BOTTOM_UP: True}

    file_utils.get_env_metadata_from_dataset = get_env_metadata_from_dataset
    try:
        yield
    finally:
        file_utils.get_env_metadata_from_dataset = original


@contextlib.contextmanager
def _own_state() -> Iterator[None]:
    """Restore what robomimic's training changes for the whole process."""
    drawn, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    streams = sys.stdout, sys.stderr
    try:
        with restored_torch_settings(), kept_modalities():
            yield
    finally:
        log = getattr(sys.stdout, "log_file", None)
        sys.stdout, sys.stderr = streams
        if log is not None:
            log.close()
        np.random.set_state(drawn)  # noqa: NPY002
        random.setstate(python)
