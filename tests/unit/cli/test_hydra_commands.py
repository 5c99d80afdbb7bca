"""Commands that Hydra runs: what they print can be copied, whatever is in a path."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from support.synthetic_runs import outcomes, write_run

from s2robot.cli import hydra_commands
from s2robot.cli.hydra_commands import sweep_finish, train
from s2robot.cli.main import main
from s2robot.experiments import pipeline
from s2robot.utils.config import command, override
from s2robot.utils.io import write_json

FOLDER = "a long folder/" + 12 * "runs[1]/" + "[bold]"


def _read(text: str) -> object:
    return OverridesParser.create().parse_override(text).value()


def test_the_command_after_training_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = Path(FOLDER, "policy.safetensors")
    monkeypatch.setattr(hydra_commands, "from_config", lambda cls, config: config)
    monkeypatch.setattr(pipeline, "train_run", lambda job, variant: path)
    monkeypatch.setattr("s2robot.experiments.variant.Variant", lambda config: config)
    monkeypatch.setattr(hydra_commands, "_nested", lambda config: OmegaConf.create({"variant": 1}))
    train(OmegaConf.create({}))
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(path)
    word = shlex.split(second.removeprefix("evaluate it: "))[-1]
    assert word.startswith("checkpoint=")
    assert _read(word) == str(path)


@pytest.mark.parametrize("value", ['a"b', "a\\", 'a\\"[', "runs[1]/ä ,=x", "it's", "plain/a-b_1.x"])
def test_a_setting_is_read_as_it_was_written(value: str) -> None:
    assert _read(override("out", value)) == value
    assert _read(shlex.split(command("eval", out=value))[-1]) == value


def test_a_sweep_with_brackets_in_its_folder_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "runs[1]" / "[bold]"
    for seed in range(3):
        write_run(folder / "cells", outcomes(0.4, seed), seed=seed)
    write_json(folder / "failed" / "abc" / "error.json", {"error": "no [/red] file [x]"})
    assert sweep_finish([override("runs_dir", folder)]) == 1
    printed = capsys.readouterr().out
    assert "no [/red] file [x]\n" in printed
    assert f"{folder / 'report' / 'report.html'}\n" in printed


def test_an_error_with_brackets_is_one_line(capsys: pytest.CaptureFixture) -> None:
    assert main(["report", FOLDER]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert FOLDER in printed.splitlines()[0]
