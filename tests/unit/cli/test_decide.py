"""The command that decides pairs of variants: its settings, its plan, its verdicts."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.sequential import STATES, SyntheticRuns
from support.synthetic_runs import OTHER, SMALL, write_run

from s2robot.cli import decide
from s2robot.cli.main import main
from s2robot.errors import DivergedError
from s2robot.experiments.sequential_results import read_sequential
from s2robot.stats.clustered import VarianceComponents
from s2robot.stats.sample_sizes import Measured

RATES = {
    (SMALL, (1,)): 0.1,
    (SMALL, (1, 2)): 0.95,
    (SMALL, (1, 2, 3)): 0.9,
    (OTHER, (1,)): 0.1,
    (OTHER, (1, 2)): 0.9,
}
MAKE_REPORT, WRITE = decide.make_report, decide.write
PAIR = [f"encoder={SMALL}", "scales=[1],[1,2]", f"n={STATES}"]


def arguments_of(job):
    config = job.train.variant
    copies = {"copies": config.copies} if config.copies != 1 else {}
    baseline = config.encoder in ("blind", "privileged_state")
    backbone = {"blind": "none", "privileged_state": "state"}.get(config.encoder, config.encoder)
    scales = tuple(int(scale) for scale in config.scales)
    settings = {"backbone": backbone, "scales": scales, "level": config.level}
    rate = 0.5 if baseline else RATES[config.encoder, scales]
    return (
        settings | copies | {"rate": rate, "settings": {"policy": {"kind": job.train.policy.kind}}}
    )


@pytest.fixture(autouse=True)
def diverging(tmp_path, monkeypatch) -> set[tuple[tuple[int, ...], int]]:
    """Make records and outcomes up, without demonstrations and encoders.

    Returns:
        Scales and seeds whose training diverges; a test may add some.
    """
    found: set[tuple[tuple[int, ...], int]] = set()

    def planned_record(job, _):
        arguments = arguments_of(job)
        arguments.pop("rate")
        with tempfile.TemporaryDirectory() as folder:
            return json.loads(
                (write_run(Path(folder), [False], **arguments) / "cell.json").read_text()
            )

    class Runs(SyntheticRuns):
        def __init__(self, jobs, *_):
            super().__init__(jobs[0].train.runs_dir / "cells", [arguments_of(j) for j in jobs])

        def rate(self, variant, seed, together):
            if (self.variants[variant]["scales"], seed) in found:
                raise DivergedError("the loss became nan")
            return super().rate(variant, seed, together)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(decide, "Variant", lambda config: config)
    monkeypatch.setattr(decide, "planned_record", planned_record)
    monkeypatch.setattr(decide, "SeedRuns", Runs)
    monkeypatch.setattr(decide, "make_report", lambda *_: SimpleNamespace(groups=()))
    monkeypatch.setattr(decide, "measured_components", lambda *_: None)
    monkeypatch.setattr(decide, "write", lambda *_: [])
    return found


def record(folder="runs/decide"):
    return json.loads((Path(folder) / "sequential.json").read_text())


def pairs_of(found):
    labels = [variant["label"] for variant in found["plan"]["variants"]]
    pairs = found["plan"]["pairs"]
    return {(labels[p["second"]], labels[p["first"]], p["question"]) for p in pairs}


def test_one_pair_is_decided_in_three_seeds_with_status_zero(capsys):
    assert main(["decide", *PAIR]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"seed 2: {SMALL} (1, 2) against {SMALL} (1): 92" in shown
    assert "points (seeds so far: 3); e-value" in shown
    assert ": better" in shown
    assert f"{6 * STATES:,} episodes; 32 seeds of each variant would have taken 2,048" in shown
    assert record()["pairs"][0]["verdict"] == "better"


def test_each_round_says_how_much_is_left_at_most(capsys):
    main(["decide", *PAIR])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("round")]
    done = [f"round {number} of at most 32 is done" for number in (1, 2, 3)]
    assert lines == [
        f"{done[0]}; left at most: 62 runs, 62 min; decided pairs end it earlier",
        f"{done[1]}; left at most: 60 runs, 60 min; decided pairs end it earlier",
        done[2],
    ]


def test_further_variants_take_the_settings_that_they_do_not_name(monkeypatch):
    monkeypatch.setitem(RATES, (SMALL, (1,)), 0.5)
    words = ["decide", *PAIR, "--and", "scales=[1] copies=2", "--max-seeds", "3"]
    assert main(words) == 0
    assert pairs_of(record()) == {
        (f"{SMALL} (1, 2)", f"{SMALL} (1)", "scales"),
        (f"{SMALL} (1, 2)", f"{SMALL} (1) copies 2", "equal_width"),
        (f"{SMALL} (1) copies 2", f"{SMALL} (1)", "copies"),
    }
    assert record()["plan"]["initial_states"] == STATES


def test_a_wrong_setting_of_further_variants_is_refused_before_any_run(capsys):
    assert main(["decide", *PAIR, "--and", "copise=2"]) == 2
    assert "copise" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_tests_with_names_share_a_folder_and_each_keeps_its_own_family():
    assert main(["decide", *PAIR, "--name", "scales"]) == 0
    assert main(["decide", *PAIR[1:], f"encoder={OTHER}", "--name", "other"]) == 0
    folder = Path("runs/decide")
    assert not (folder / "sequential.json").exists()
    found, unusable = read_sequential(folder / "cells")
    assert [results.path.stem for results in found] == ["other", "scales"]
    assert not unusable
    assert all(len(results.pairs) == 1 for results in found)
    below, _ = read_sequential(folder)
    assert [results.path.resolve() for results in below] == [results.path for results in found]


def test_a_name_that_is_no_file_name_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["decide", *PAIR, "--name", "../x"])
    assert "letters, digits" in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_names_the_test_and_the_seeds_that_failed(diverging, monkeypatch, capsys):
    monkeypatch.setattr(decide, "make_report", MAKE_REPORT)
    monkeypatch.setattr(decide, "write", WRITE)
    diverging.add(((1, 2), 1))
    main(["decide", *PAIR])
    assert "runs/decide/report/report.html" in capsys.readouterr().out
    page = Path("runs/decide/report/report.html").read_text()
    assert "Sequential test</h2>" in page
    assert "seed 1: DivergedError" in page


def test_options_stand_before_between_and_after_settings():
    argv = ["decide", "--max-seeds", "4", PAIR[0], "--alpha=0.01", *PAIR[1:], "--margin", "20"]
    assert main(argv) in (0, 5)
    assert record()["plan"]["alpha"] == 0.01
    assert record()["plan"]["margin"] == 0.2


@pytest.mark.parametrize(
    "rates, status, verdict", [((0.95, 0.1), 3, "worse"), ((0.5, 0.5), 4, "equivalent")]
)
def test_the_status_follows_the_verdict(monkeypatch, rates, status, verdict):
    for scales, rate in zip(((1,), (1, 2)), rates, strict=True):
        monkeypatch.setitem(RATES, (SMALL, scales), rate)
    assert main(["decide", *PAIR, "--margin", "20"]) == status
    assert record()["pairs"][0]["verdict"] == verdict


def test_an_undecided_pair_names_what_it_would_take(monkeypatch, capsys):
    measured = Measured(VarianceComponents(0.02, 0.0, 0.2), "made up")
    monkeypatch.setattr(decide, "measured_components", lambda *_: measured)
    monkeypatch.setitem(RATES, (SMALL, (1, 2)), 0.15)
    assert main(["decide", *PAIR, "--max-seeds", "3", "--alpha", "0.0001"]) == 5
    shown = " ".join(capsys.readouterr().out.split())
    assert "not shown after 3 seeds; a difference of 6.2 points takes up to" in shown
    command = shown.partition("(s2robot ")[2].partition(")")[0].split()
    assert command[:2] == ["plan", "--difference"]
    assert main(command) == 0


def test_several_pairs_end_with_status_zero():
    assert main(["decide", f"encoder={SMALL}", "scales=[1],[1,2],[1,2,3]", f"n={STATES}"]) == 0
    assert len(record()["pairs"]) == 3


def test_only_pairs_that_differ_in_one_setting_are_tested():
    argv = ["decide", f"encoder={SMALL},{OTHER},blind", "scales=[1],[1,2]", f"n={STATES}"]
    assert main([*argv, "--max-seeds", "3"]) == 0
    found = record()
    assert pairs_of(found) == {
        (f"{name} (1, 2)", f"{name} (1)", "scales") for name in (SMALL, OTHER)
    }
    rates = {variant["label"]: variant["rates"] for variant in found["variants"]}
    assert list(rates["blind"]) == ["0", "1", "2"]
    assert len(rates) == 5  # blind is the same at both scale sets


def test_two_variants_are_tested_whatever_differs():
    assert main(["decide", "encoder=privileged_state,blind", f"n={STATES}"]) == 4
    [(_, _, question)] = pairs_of(record())
    assert question == "several"


def test_policies_are_variants_too():
    argv = ["decide", f"encoder={SMALL}", "scales=[1]", "policy=mlp,gmm", f"n={STATES}"]
    assert main([*argv, "--max-seeds", "3"]) in (4, 5)
    [(second, first, _)] = pairs_of(record())
    assert {first, second} == {
        f"{SMALL} (1), precise, policy.kind {kind}" for kind in ("mlp", "gmm")
    }


@pytest.mark.parametrize(
    "argv, message",
    [
        (["seed=0,1"], "decide runs the training seeds 0, 1, 2, ... by itself"),
        (["first=64"], "a block of initial states of its own"),
        (["eval_levels=[hard]"], "`s2robot sweep` has others"),
        (["hydra/launcher=joblib"], "no jobs are launched"),
        (["n=32,64"], "n is 32, 64; all variants of a test need the same n"),
        (["encodr=blind"], "did you mean encoder?"),
        (["scales=[1"], "allowed: a list of numbers, such as [1,2]"),
        (["policy=mpl"], "unknown policy 'mpl'"),
        ([], "there is no pair to decide"),
        (["level=easy,precise"], "there is no pair to decide"),
        (["encoder=blind,privileged_state", "level=easy,precise"], "there is no pair to decide"),
    ],
)
def test_wrong_settings_are_one_clear_error(argv, message, capsys):
    given = [word.partition("=")[0] for word in argv]
    shared = [f"encoder={SMALL}", "scales=[1]"]
    assert main(["decide", *(w for w in shared if w.partition("=")[0] not in given), *argv]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--max-seeds=2", "2 seeds give no verdict"),
        ("--max-seeds=many", "whole number"),
        ("--margin=0", "percentage points"),
        ("--alpha=nan", "between 0 and 1"),
        ("--at-once=0", "at least 1"),
        ("--metric=success", "unknown --metric 'success'; available"),
    ],
)
def test_wrong_options_are_refused(flag, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["decide", *PAIR, flag])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_further_variant_in_the_same_folder_is_refused(capsys):
    main(["decide", *PAIR])
    assert main(["decide", PAIR[0], "scales=[1],[1,2],[1,2,3]", PAIR[2]]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "fixes another sequential test" in shown
    assert f"now {SMALL} (1), {SMALL} (1, 2), {SMALL} (1, 2, 3)" in shown
    assert main(["decide", PAIR[0], "scales=[1],[1,2],[1,2,3]", PAIR[2], "runs_dir=other"]) == 0


def test_a_failed_seed_is_named_and_the_status_is_one(diverging, capsys):
    diverging.add(((1, 2), 1))
    assert main(["decide", *PAIR]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"failed seed 1 of {SMALL} (1, 2): DivergedError: the loss became nan" in shown
    assert record()["pairs"][0]["seeds"] == [0, 2, 3]
    assert record()["pairs"][0]["verdict"] == "better"


def test_a_variant_that_always_fails_leaves_its_pair_undecided(diverging, capsys):
    diverging.update(((1, 2), seed) for seed in range(32))
    assert main(["decide", *PAIR]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{SMALL} (1, 2) failed too often and got no more seeds" in shown
    assert record()["pairs"][0]["verdict"] == "not shown"


def test_it_continues_where_it_was_with_more_seeds(monkeypatch):
    monkeypatch.setitem(RATES, (SMALL, (1, 2)), 0.15)
    main(["decide", *PAIR, "--max-seeds", "3", "--alpha", "0.0001"])
    seen = record()["pairs"][0]["differences"]
    main(["decide", *PAIR, "--max-seeds", "5", "--alpha", "0.0001"])
    assert record()["pairs"][0]["differences"][:3] == seen
    assert len(record()["pairs"][0]["differences"]) == 5
