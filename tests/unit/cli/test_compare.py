"""``s2robot compare``: one verdict, its exit status, and the choice of two variants."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.sequential import write_sequential
from support.synthetic_runs import LARGE, SMALL, change_run, outcomes, write_run

from s2robot.cli.main import main

ONE, TWO, THREE = f"{SMALL} (1)", f"{SMALL} (1, 2)", f"{SMALL} (1, 2, 3)"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cells")
    for seed in range(4):
        write_run(root, outcomes(0.2, seed, 256), seed=seed)
        write_run(root, outcomes(0.97, 10 + seed, 256), SMALL, (1, 2), seed=seed)
        write_run(root, outcomes(0.97, 20 + seed, 256), SMALL, (1, 2, 3), seed=seed)
    for baseline, rate in (("none", 0.05), ("state", 0.98)):
        for seed in range(3):
            write_run(root, outcomes(rate, 30 + seed, 256), baseline, seed=seed)
    write_run(root, outcomes(0.5, 0, 8), LARGE, planned=256)
    return root


@pytest.mark.parametrize(
    ("first", "second", "accept", "status"),
    [
        (ONE, TWO, "", 0),
        (TWO, ONE, "", 3),
        (TWO, THREE, "", 4),
        (TWO, THREE, "better,equivalent", 0),
        (TWO, ONE, "better,equivalent", 3),
        (ONE, TWO, "equivalent,not-shown", 6),
        (TWO, ONE, "worse", 0),
        ("blind", "privileged_state", "", 0),
        ("state", "ground-truth position", "", 2),
        (ONE, "blind", "worse", 0),
        (ONE.replace(" ", ""), TWO, "", 0),
    ],
)
def test_the_exit_status_follows_the_verdict_on_the_second(cells, first, second, accept, status):
    options = ["--accept", accept] if accept else []
    assert main(["compare", str(cells), first, second, *options]) == status


def test_few_seeds_are_not_shown(tmp_path, capsys):
    for backbone, rate in (("none", 0.05), ("state", 0.98)):
        write_run(tmp_path, outcomes(rate, 1), backbone)
    assert main(["compare", str(tmp_path), "--first", "blind", "--second", "state"]) == 5
    assert "verdict: not shown" in capsys.readouterr().out


def test_numbers_sentence_and_files(cells, tmp_path, capsys):
    names = ("verdict.xml", "verdict.md", "verdict.json")
    xml, text, numbers = (tmp_path / name for name in names)
    argv = ["compare", str(cells), TWO, ONE, "--junit", str(xml), "--markdown", str(text)]
    assert main([*argv, "--json", str(numbers), "--margin", "2.5"]) == 3
    shown = capsys.readouterr()
    assert "verdict: worse" in shown.out
    assert f"{ONE} is worse than {TWO}: −" in shown.out
    assert "equivalence within 2.5 points" in shown.out
    assert ElementTree.parse(xml).getroot().get("failures") == "1"
    assert "**worse**" in text.read_text()
    record = json.loads(numbers.read_text())
    assert record["comparison"]["verdict"] == "worse"
    assert record["comparison"]["margin"] == pytest.approx(0.025)
    assert [arm["label"] for arm in record["arms"]] == [TWO, ONE]


def test_two_folders_of_runs_are_compared_and_what_differs_is_named(tmp_path, capsys):
    for folder, epochs, rate in (("main", 60, 0.2), ("branch", 30, 0.9)):
        settings = {"train": {"epochs": epochs}}
        for seed in range(3):
            found = outcomes(rate, seed + epochs)
            write_run(tmp_path / folder, found, seed=seed, settings=settings)
    folders = [str(tmp_path / name) for name in ("main", "branch")]
    assert main(["compare", *folders]) == 0
    shown = capsys.readouterr().out
    assert f"{ONE} [" in shown
    assert "What differs: train.epochs 30 against 60." in shown


def test_the_same_settings_in_two_folders_are_told_apart_by_the_folder(tmp_path, capsys):
    """A negative control: the same variant with other training seeds."""
    for folder, seeds in (("a", range(3)), ("b", range(3, 6))):
        for seed in seeds:
            write_run(tmp_path / folder, outcomes(0.5, seed), seed=seed)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 5
    shown = capsys.readouterr().out
    assert f"{ONE} of {tmp_path / 'b'}" in shown
    assert "The settings are the same; only training seeds differ." in shown


def test_equal_labels_are_chosen_by_key(tmp_path, capsys):
    for epochs in (30, 60):
        for seed in range(3):
            settings = {"train": {"epochs": epochs}}
            write_run(tmp_path, outcomes(epochs / 70, seed), seed=seed, settings=settings)
    assert main(["compare", str(tmp_path), ONE, ONE]) == 2
    message = capsys.readouterr().err
    assert f"which '{ONE}' of {tmp_path}?" in message
    lines = [line.split() for line in message.splitlines() if "level precise" in line]
    first, second = sorted(lines, key=lambda words: "train.epochs" in words[-4:])
    keys = [words[0] for words in (first, second)]
    assert main(["compare", str(tmp_path), *keys]) in (0, 3)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["{cells}", ONE], "no runs under"),
        (["{cells}", ONE, "mvp-vits-hoi (1,3)"], "unknown variant"),
        (["{cells}", ONE, ONE], "is given twice"),
        (["{cells}"], "give a folder of runs and two labels"),
        (["{cells}", ONE, TWO, THREE], "give a folder of runs and two labels"),
        (["{cells}", ONE, f"{LARGE} (1)"], f"{LARGE} (1) has no finished run"),
        (["nowhere", ONE, TWO], "no runs under nowhere"),
    ],
)
def test_mistakes_are_one_clear_error(cells, argv, message, capsys):
    status = main(["compare", *(word.replace("{cells}", str(cells)) for word in argv)])
    assert status == (1 if "runs under" in message or "finished" in message else 2)
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("option", [["--margin", "0"], ["--margin", "x"], ["--accept", "good"]])
def test_options_are_checked(cells, option):
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(cells), ONE, TWO, *option])
    assert stop.value.code == 2


def test_without_a_shared_initial_state_the_status_is_one(tmp_path, capsys):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed)
        write_run(tmp_path, outcomes(0.5, seed), LARGE, seed=seed, first=64)
    change_run(write_run(tmp_path, outcomes(0.2, 9), seed=9), format=1)
    assert main(["compare", str(tmp_path), ONE, f"{LARGE} (1)"]) == 1
    shown = capsys.readouterr().err
    assert "no initial state in common" in shown
    assert "left out: " in shown


def test_a_damaged_run_is_named_and_the_others_are_compared(tmp_path, capsys):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.1, seed), seed=seed)
        write_run(tmp_path, outcomes(0.9, seed), LARGE, seed=seed)
    change_run(write_run(tmp_path, outcomes(0.2, 9), seed=9), format=1)
    assert main(["compare", str(tmp_path), ONE, f"{LARGE} (1)"]) == 0
    assert "left out: " in capsys.readouterr().err


def test_the_help_lists_the_exit_statuses(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    shown = capsys.readouterr().out
    assert "3  worse        4  equivalent        5  not shown" in shown


def test_runs_of_a_sequential_sweep_have_its_verdict(tmp_path, capsys):
    variants = ({"rate": 0.1}, {"rate": 0.95, "scales": (1, 2)})
    write_sequential(tmp_path, variants, [(0, 1)], max_seeds=3, alpha=0.001)
    argv = ["compare", str(tmp_path / "cells"), f"{SMALL} (1)", f"{SMALL} (1, 2)"]
    assert main(argv) == 5
    shown = capsys.readouterr().out
    assert "99.9 %" in shown
    assert "sequential test" in shown
