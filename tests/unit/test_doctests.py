"""Examples in docstrings run, and the names that people meet first have one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest
from support.page_files import write_policy
from support.paths import ROOT
from support.source_files import library_files

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FIRST_MET = (
    "s2robot.multiscale.forward:multiscale_forward",
    "s2robot.encoder.frame_encoder:FrameEncoder",
    "s2robot.encoder.spec:EncoderSpec",
    "s2robot.encoder.layout:EmbeddingLayout",
    "s2robot.encoder.streaming:FrameStream",
    "s2robot.encoder.tile_selection:SelectiveEncoder",
    "s2robot.encoder.single_frame:SingleFrame",
    "s2robot.backbones.registry:get_card",
    "s2robot.backbones.card:BackboneCard",
    "s2robot.backbones.backbone:load_backbone",
    "s2robot.data.frame_sources:frames_from",
    "s2robot.data.feature_store:FeatureStore",
    "s2robot.data.ros_messages.images:frame_of",
    "s2robot.envs.pick_cube:PickCubeEnv",
    "s2robot.policies.config:PolicyConfig",
    "s2robot.policies.dataset:TrajectoryData",
    "s2robot.training.seed_trainer:TrainConfig",
    "s2robot.evaluation.agents.loaded_policy:load_policy",
    "s2robot.evaluation.evaluate:EvalConfig",
    "s2robot.evaluation.initial_states:InitialStates",
    "s2robot.experiments.variant:VariantConfig",
    "s2robot.stats.intervals:wilson",
    "s2robot.stats.clustered:Outcomes",
    "s2robot.stats.clustered:clustered_difference",
    "s2robot.stats.sequential:e_values",
    "s2robot.stats.power:power",
    "s2robot.stats.paired_tests:mcnemar",
    "s2robot.plugins.ros.core.config:NodeConfig",
    "s2robot.pretraining.config:PretrainConfig",
    "s2robot.pretraining.masked_autoencoder:patchify",
    "s2robot.reporting.comparisons:compare_groups",
    "s2robot.analysis.probes.localizer:Localizer",
    "s2robot.analysis.probes.study:StudyConfig",
    "s2robot.analysis.latency:measure",
    "s2robot.analysis.reconstruction.regression:LinearMap",
    "s2robot.cli.main:main",
)


def module_of(path: Path) -> str:
    """Dotted name that a file of the library imports as."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "s2robot" else ("s2robot", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


WITH_EXAMPLES = [
    module_of(path) for path in library_files() if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    if "policy.safetensors" in Path(str(module.__file__)).read_text(encoding="utf-8"):
        write_policy(tmp_path / "policy.safetensors")
    result = doctest.testmod(module, optionflags=OPTIONS)
    assert result.attempted + _skipped(module) > 0
    assert result.failed == 0


def _skipped(module: object) -> int:
    tests = doctest.DocTestFinder().find(module)  # pyright: ignore[reportArgumentType]
    return sum(doctest.SKIP in e.options for test in tests for e in test.examples)


@pytest.mark.parametrize("place", FIRST_MET)
def test_what_people_meet_first_has_an_example_that_runs(place: str) -> None:
    module, name = place.split(":")
    thing = getattr(importlib.import_module(module), name)
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")
    assert [e for e in examples if doctest.SKIP not in e.options], f"{place} has no example"
