"""Seeds of a sweep that are trained together, from the words that a user types."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2robot.cli.hydra_commands import sweep_begin


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["seed=0,1,2"], ["train_together=[0,1,2]"]),
        (["seed=range(0,4)", "level=easy"], ["train_together=[0,1,2,3]"]),
        (["seed=choice(3,5)"], ["train_together=[3,5]"]),
        (["seed=7", "seed=1,2"], ["train_together=[1,2]"]),
        (["seed=0"], []),
        (["level=easy"], []),
        (["seed=0,1", "hydra/launcher=joblib"], []),
        (["seed=0,1", "train_together=[0]"], []),
        (["seed=a,b"], []),
    ],
)
def test_seeds_that_follow_each_other_are_trained_together(
    tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    assert sweep_begin([*words, f"runs_dir={tmp_path}"]) == expected
