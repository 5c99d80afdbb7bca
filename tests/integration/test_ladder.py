"""The ladder's script: each command it gives is one that the command line knows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from s2robot.cli.verbs import VERBS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ladder.sh"


@pytest.fixture
def calls(tmp_path):
    """Runs the script with a stand-in that notes its words; returns them, a list a call."""
    stand_in = tmp_path / "s2robot"
    stand_in.write_text(
        f'#!/bin/sh\nprintf "%s\\t" "$@" >> {tmp_path}/calls\necho >> {tmp_path}/calls\n'
    )
    stand_in.chmod(0o755)

    def run(**settings: str) -> list[list[str]]:
        path = f"{tmp_path}:{os.environ['PATH']}"
        environment = {**os.environ, **settings, "PATH": path}
        subprocess.run(["bash", SCRIPT, "out"], check=True, env=environment)
        lines = (tmp_path / "calls").read_text().splitlines()
        return [line.rstrip("\t").split("\t") for line in lines]

    return run


def test_sizes_are_trained_on_the_same_views_and_compared(calls):
    made = calls(VIEWS="1000")
    assert [words[0] for words in made] == [*["pretrain"] * 3, "probe", "reconstruct", "sweep"]
    assert all(words[0] in VERBS for words in made)
    trained = [dict(word.split("=") for word in words[1:]) for words in made[:3]]
    assert [t.pop("recipe") for t in trained] == ["vitt", "vits", "vitb"]
    assert {t["views"] for t in trained} == {"1000"}
    reconstruct = made[4]
    assert reconstruct[reconstruct.index("--target") + 1] == "file:out/vits/encoder.json"
    assert reconstruct[reconstruct.index("--reference") + 1] == "file:out/vitb/encoder.json"


def test_two_sizes_do_without_a_reference_and_one_without_a_target(calls, tmp_path):
    assert "--reference" not in calls(SIZES="vitt vits")[3]
    (tmp_path / "calls").unlink()
    assert [words[0] for words in calls(SIZES="vitt")] == ["pretrain", "probe", "sweep"]
