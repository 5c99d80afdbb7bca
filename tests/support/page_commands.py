"""The commands of pages, run where that is quick and else up to the work that they would begin."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.run import get_args_parser

from s2robot.cli import bench, decide, export, plan, probe, reconstruct
from s2robot.cli.main import main
from s2robot.cli.recommend import command as recommendations
from s2robot.cli.settings.front import checked_words
from s2robot.cli.verbs import VERBS
from s2robot.data import collection
from s2robot.data.frame_sources import GENERATED, frames_from
from s2robot.experiments import pipeline
from s2robot.experiments.recorded.inputs import RecordedInputs
from s2robot.experiments.sweeps import preflight
from s2robot.experiments.variant import Variant
from s2robot.export.onnx import export_encoder
from s2robot.pretraining import run as pretraining
from support.page_files import make_cards_small, small_backbone
from support.paths import ROOT

VERDICTS = {"compare": {0, 3, 4, 5, 6}}
"""Exit statuses beside 0 that are answers."""

LAUNCHERS = {"joblib": "hydra-joblib-launcher", "submitit_slurm": "hydra-submitit-launcher"}


class Reached(BaseException):
    """A command has read everything that it was given, and would begin its work."""


def _stop(*_: Any, **__: Any) -> Any:
    raise Reached


def _read_or_stop(source: str, *rest: int) -> np.ndarray:
    """Return the frames of a recording; drawing some takes long."""
    return _stop() if source in GENERATED else frames_from(source, *rest)


def _export_once(encoder: Any, path: Path, *rest: Any) -> Any:
    """Export the first file of a page; one takes a quarter of a minute."""
    if list(Path().glob("*.onnx")) and not path.exists():
        _stop()
    return export_encoder(encoder, path, *rest)


def without_work(patch: pytest.MonkeyPatch, began: list[str]) -> None:
    """Replace long work by a note in ``began``; weights are random, so nothing is downloaded."""

    def note(name: str, answer: Any) -> Any:
        def work(*_: Any, times: Any = None, **__: Any) -> Any:
            began.append(name)
            if times is not None:
                times.folder, times.rollout_s, times.episodes = ".", 1.0, 1
            return answer

        return work

    demos = SimpleNamespace(path="demos.hdf5", num_episodes=2, num_frames=9, valid_episodes=[1],
                            meta={"failures": 0})  # fmt: skip
    card = SimpleNamespace(with_name=lambda name: name)
    patch.setattr(collection, "collect", note("collect", demos))
    patch.setattr(Variant, "embeddings", note("features", torch.zeros(9, 384)))
    patch.setattr(RecordedInputs, "embeddings", note("features", torch.zeros(9, 384)))
    patch.setattr(pretraining, "pretrain", note("pretrain", card))
    patch.setattr(pipeline, "train_run", note("train", "policy.safetensors"))
    found = SimpleNamespace(episodes=(), entries=())
    recorded = SimpleNamespace(errors=found, checkpoints=("policy.safetensors",), page="index.html")
    name = "s2robot.experiments.recorded.training.train_recorded"
    patch.setattr(name, note("train", recorded))
    patch.setattr(pipeline, "evaluate_policy", note("eval", "success"))
    patch.setattr(preflight, "fetch", note("fetch", Path("weights")))
    patch.setattr(pipeline, "execute_run", note("sweep", "success"))
    patch.setattr(bench, "frames_from", _read_or_stop)
    patch.setattr(bench, "make_paths", _stop)
    patch.setattr(export, "export_encoder", _export_once)
    patch.setattr("s2robot.cli.episodes.replay.find_run", _stop)
    patch.setattr("s2robot.cli.episodes.export_dataset.open_source", _stop)
    patch.setattr("s2robot.plugins.robomimic.cache.cache_embeddings", _stop)
    ros = (("nodes", "run_ros1"), ("nodes", "run_ros2"), ("camera", "main"), ("recorder", "main"))
    for module, name in ros:
        patch.setattr(f"s2robot.cli.ros.{module}.{name}", _stop)
    patch.setattr("s2robot.plugins.robomimic.training.train", _stop)
    patch.setattr(plan, "smallest_differences", _stop)
    patch.setattr(decide.SequentialSweep, "claim", _stop)
    patch.setattr(probe.Study, "run", _stop)
    patch.setattr(recommendations, "open_source", _stop)
    patch.setattr(reconstruct, "_episodes", _stop)
    patch.setattr(reconstruct, "reconstruct", _stop)
    patch.setattr("s2robot.analysis.parity.verify.verify", _stop)
    patch.setattr("s2robot.encoder.frame_encoder.load_backbone", small_backbone)
    patch.setattr("s2robot.backbones.load_backbone", small_backbone)
    make_cards_small(patch)


def run_command(words: Sequence[str]) -> None:
    """Run ``s2robot WORDS`` in this process, or up to its work.

    Raises:
        AssertionError: it is refused, or ends without having reached its work.
    """
    words = shortened(words)
    verb = words[0]
    if any(word.startswith("hydra/launcher=") for word in words):
        check_launcher(words)  # it would run jobs in other processes
        return
    began: list[str] = []
    arguments, said = sys.argv, io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        without_work(patch, began)
        if verb == "sweep":
            patch.setattr("s2robot.reporting.report.make_report", lambda cells: cells)
            patch.setattr("s2robot.cli.report.write", lambda report, out: [])
        try:
            status = main(list(words))
        except Reached:
            return
        except SystemExit as stop:
            status = stop.code
        finally:
            sys.argv = arguments
    assert status in VERDICTS.get(verb, {0}), f"exit status {status}: {said.getvalue()}"
    if verb in VERBS and VERBS[verb].hydra:
        assert began, "it ended before its work"


def shortened(words: Sequence[str]) -> list[str]:
    """Return a command with fewer seeds where it sweeps something else, and for this machine."""
    sweeps = [word for word in words if re.match(r"\w+=.*,", word) and "=[" not in word]
    sweeps += [word for word in words if "],[" in word]
    seeds = 1 if len(sweeps) > 1 else 2
    short = []
    for word in words:
        name, _, value = word.partition("=")
        few = ",".join(value.split(",")[:seeds])
        short.append(f"seed={few}" if name == "seed" else word)
    if not torch.cuda.is_available():
        short = ["cpu" if word == "cuda" else word for word in short]
    return short


def check_launcher(words: Sequence[str]) -> None:
    """Check a sweep for another launcher: its settings where it is installed, and its extra."""
    (name,) = [word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")]
    package = LAUNCHERS[name]
    assert f'"{package}' in (ROOT / "pyproject.toml").read_text(), package
    installed = importlib.util.find_spec(f"hydra_plugins.{package.replace('-', '_')}")
    own = [word for word in words if installed or not word.startswith(("hydra/", "hydra."))]
    checked_words(own[0], own[1:], sweeps=True)


def torchrun(words: Sequence[str]) -> list[str]:
    """Return the words of the command that torchrun would start, after a check of its own."""
    parsed = get_args_parser().parse_args([word for word in words if "which" not in word])
    assert parsed.nproc_per_node
    place = next(i for i, word in enumerate(words) if word.endswith("s2robot)"))
    return list(words[place + 1 :])
