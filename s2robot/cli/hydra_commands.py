"""Functions of the Hydra commands: build the configuration, call the library, print results."""

from __future__ import annotations

import contextlib
import functools
import shlex
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from s2robot.cli.settings.jobs import by_dataclass, plain, run_job, train_command
from s2robot.cli.settings.words import Words
from s2robot.utils.command_lines import command, override
from s2robot.utils.config import from_config
from s2robot.utils.console import MESSAGES, OUTPUT
from s2robot.utils.io import paths_below, write_json

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from s2robot.experiments.jobs import TrainCommand
    from s2robot.experiments.run_progress import RunTimes, SweepProgress


def collect(config: DictConfig) -> None:
    """Run ``s2robot collect``."""
    from s2robot.data.collection import collect as run
    from s2robot.data.config import CollectConfig

    demos = run(from_config(CollectConfig, config))
    OUTPUT.print(
        f"{demos.path}: {demos.num_episodes} demonstrations, {demos.num_frames} frames, "
        f"{len(demos.valid_episodes)} of them for validation; "
        f"{demos.meta['failures']} failed attempts are left out",
    )


def features(config: DictConfig) -> None:
    """Run ``s2robot features``."""
    from s2robot.experiments.config import VariantConfig
    from s2robot.experiments.variant import Variant

    settings = from_config(VariantConfig, config)
    if settings.data is None:
        variant = Variant(settings)
    else:
        from s2robot.experiments.recorded.inputs import RecordedInputs

        variant = RecordedInputs(settings)
    shape = tuple(variant.embeddings().shape)
    OUTPUT.print(f"{variant.label}: {shape[0]} embeddings of width {shape[1]}")


def pretrain(config: DictConfig) -> None:
    """Run ``s2robot pretrain``."""
    from s2robot.pretraining.config import PretrainConfig
    from s2robot.pretraining.run import pretrain as run
    from s2robot.utils.distributed import is_main_process

    card = run(from_config(PretrainConfig, config))
    if is_main_process():
        page = card.with_name("index.html")
        OUTPUT.print(f"{page}\nuse it as {shlex.quote(override('encoder', f'file:{card}'))}")


def train(config: DictConfig) -> None:
    """Run ``s2robot train`` or ``train-policy``."""
    from s2robot.envs.tasks.names import is_foreign
    from s2robot.experiments.pipeline import train_run
    from s2robot.experiments.variant import Variant

    job = train_command(config)
    if job.variant.data is not None:
        _train_recorded(job)
        return
    path = train_run(job, Variant(job.variant))
    task = str(config.get("task") or "")
    named = {"task": task} if is_foreign(task) else {}
    OUTPUT.print(f"{path}\nevaluate it: {command('eval', checkpoint=path, **named)}")


def _train_recorded(job: TrainCommand) -> None:
    from s2robot.experiments.recorded.page import interval_text
    from s2robot.experiments.recorded.split import too_few
    from s2robot.experiments.recorded.training import train_recorded

    found = train_recorded(job, job.seeds)
    of = "" if job.seeds == 1 else f", {job.seeds} training seeds"
    count = len(found.errors.episodes)
    counted = f"{count} held-out episode{'' if count == 1 else 's'}"
    OUTPUT.print(f"mean absolute error on {counted}{of}:")
    for entry in found.errors.entries:
        OUTPUT.print(f"  {entry.name}: {interval_text(entry.error)}, {entry.verdict}")
    few = too_few(count)
    if few is not None:
        OUTPUT.print(few)
    for path in (*found.checkpoints, found.page):
        OUTPUT.print(str(path))


def evaluate(config: DictConfig) -> None:
    """Run ``s2robot eval``."""
    from s2robot.experiments.jobs import EvalJob
    from s2robot.experiments.pipeline import evaluate_policy

    summary = evaluate_policy(from_config(EvalJob, config))
    OUTPUT.print(str(summary))


def sweep_run(config: DictConfig) -> None:
    """Execute one run of ``s2robot sweep``; record a failure, so that the other runs continue."""
    from s2robot.experiments.pipeline import execute_run

    record = Path(config.runs_dir) / "failed" / _digest(config) / "error.json"
    with _times(config) as times:
        try:
            summary = execute_run(run_job(config), times=times)
        except Exception as error:
            failure = {"error": f"{type(error).__name__}: {error}", "config": by_dataclass(config)}
            write_json(record, failure)
            OUTPUT.print(traceback.format_exc())
            return
        record.unlink(missing_ok=True)
        OUTPUT.print(str(summary))


_progress: list[SweepProgress] = []
"""Progress of the sweep that this process began; empty in processes of other launchers."""


def _times(config: DictConfig) -> contextlib.AbstractContextManager[RunTimes | None]:
    """Return the context of a run, which shows the progress and takes the run's times."""
    from s2robot.experiments.run_progress import SweepProgress

    content = plain(config)
    progress = _progress[-1] if _progress else None
    progress = progress or SweepProgress.of_run(Path(config.runs_dir), content)
    return contextlib.nullcontext() if progress is None else progress.run(content)


def _begin_progress(argv: list[str], together: bool) -> None:
    """Begin the progress of a sweep's runs; without one where another sweeper chooses them.

    Raises:
        ValueError: some of the runs cannot succeed; the message names them.
    """
    from s2robot.experiments.run_progress import SweepProgress, planned_run, run_names

    _progress.clear()
    runs_dir = Path(_setting(argv, "runs_dir", "runs"))
    SweepProgress.forget_failures(runs_dir)
    if any(word.startswith("hydra/sweeper") for word in argv):
        return
    own = [word for word in argv if not word.startswith(("hydra/", "hydra."))]
    try:
        configs = expand("sweep", own, {})
    except ValueError:  # settings from other files, which are not known here
        return
    contents = [plain(config) for config in checked(configs)]
    names = run_names(contents)
    in_turn = not any(word.startswith("hydra/launcher") for word in argv)
    runs = [planned_run(*each) for each in zip(contents, names, strict=True)]
    _progress.append(SweepProgress.begin(runs_dir, runs, in_turn, together))


def checked(configs: list[DictConfig]) -> list[DictConfig]:
    """Return the configurations of runs, each of which can begin.

    Raises:
        ValueError: some cannot; the message names each one and why.
    """
    from s2robot.experiments.run_progress import run_names
    from s2robot.experiments.sweeps.preflight import check_runs

    names = run_names([plain(config) for config in configs])
    makers = [functools.partial(run_job, config) for config in configs]
    check_runs(zip(names, makers, strict=True))
    return configs


def expand(
    config_name: str, overrides: Sequence[str], refused: Mapping[str, str]
) -> list[DictConfig]:
    """Return the configuration of every combination of comma-separated values, as a sweep does.

    Args:
        config_name: file in ``configs``, without its ending.
        overrides: of the command line, such as ``scales=[1],[1,2]``.
        refused: settings that are not allowed, and why.

    Raises:
        ValueError: a setting is unknown, wrong or refused.

    Examples:
        >>> jobs = expand("sweep", ["scales=[1],[1,2]", "n=8"], refused={})
        >>> [(list(job.scales), job.n) for job in jobs]
        [([1], 8), ([1, 2], 8)]
    """
    from hydra import compose, initialize_config_module
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from s2robot.cli.settings.front import allowed_words

    words = allowed_words(config_name, overrides, refused)
    words = Words("decide", words, config_name).settings
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(words), None)
        return [compose(config_name, overrides=job) for job in jobs]


def sweep_begin(argv: list[str]) -> list[str]:
    """Name impossible runs, and forget failures of earlier calls; return arguments for Hydra.

    Raises:
        ValueError: some of the runs cannot succeed.
    """
    seeds = _swept_seeds(argv)
    _begin_progress(argv, bool(seeds) or any(w.startswith("train_together=") for w in argv))
    return [f"train_together=[{','.join(map(str, seeds))}]"] if seeds else []


def _swept_seeds(argv: list[str]) -> list[int]:
    """Return the seeds of a sweep whose runs follow each other in this process, else none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    words = [word for word in argv if word.startswith("seed=")]
    if not words or any(word.startswith(("hydra/", "train_together=")) for word in argv):
        return []  # another launcher may run the jobs elsewhere, at once
    try:
        override = OverridesParser.create().parse_override(words[-1])
    except HydraException:
        return []  # Hydra itself explains it
    if not override.is_sweep_override():
        return []
    values = list(override.sweep_string_iterator())
    return [int(value) for value in values] if all(map(str.isdigit, values)) else []


def sweep_finish(argv: list[str]) -> int:
    """Write the report of a sweep; return 1 if runs failed."""
    from s2robot.cli.report import write
    from s2robot.experiments.pipeline import failed_runs
    from s2robot.reporting.report import make_report

    runs_dir = Path(_setting(argv, "runs_dir", "runs"))
    own = None
    if _progress:
        own = _progress.pop()
        MESSAGES.print(own.last_line())
    failed = failed_runs(runs_dir, None if own is None else set(own.planned))
    for name, message in failed:
        OUTPUT.print(Text("failed", style="red"), f"{name}: {message}")
    if paths_below(runs_dir / "cells", "cell.json"):
        for path in write(make_report(runs_dir / "cells"), runs_dir / "report"):
            OUTPUT.print(str(path))
    return int(bool(failed))


def _digest(config: DictConfig) -> str:
    from s2robot.utils.io import digest_of

    content = plain(config)
    content.pop("train_together", None)  # it changes no result
    return digest_of(content)[:16]


def _setting(argv: list[str], name: str, default: str) -> str:
    """Return a setting as Hydra reads it: without its quotes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    words = [word for word in argv if word.startswith(f"{name}=")]
    if not words:
        return default
    try:
        return str(OverridesParser.create().parse_override(words[-1]).value())
    except HydraException:  # Hydra itself explains it
        return words[-1].split("=", 1)[1]
