"""Jobs: the levels of a run, and the folders of its episodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.pipeline import eval_folder
from s2robot.experiments.variant import VariantConfig


def test_levels_of_a_run():
    train = TrainJob(variant=VariantConfig(level="precise"))
    assert RunJob(train).levels == ["precise"]
    assert RunJob(train, eval_levels=("precise", "hard", "hard")).levels == ["precise", "hard"]
    with pytest.raises(ValueError, match=r"level for policies of level 'precise'.*'easy-hard'"):
        RunJob(train, eval_levels=("easy-hard",))


def test_episodes_of_another_level_go_to_a_folder_of_their_own():
    path = Path("cells/a/policy.safetensors")
    assert eval_folder(EvalJob(path), "precise") == Path("cells/a")
    assert eval_folder(EvalJob(path, level="precise"), "precise") == Path("cells/a")
    assert eval_folder(EvalJob(path, level="hard"), "precise") == Path("cells/a/hard")
    assert eval_folder(EvalJob(path, level="hard", out=Path("b")), "precise") == Path("b")
