"""The content of a report: groups, comparisons, and what was left out or noticed."""

from __future__ import annotations

import json

import pytest
from support.synthetic_runs import LARGE, SMALL, outcomes, write_run

from s2robot.cli.compare import main as compare
from s2robot.cli.report import main as report
from s2robot.errors import S2RobotError
from s2robot.reporting.report import make_report


def test_exact_runtimes_are_compared_and_pooled_with_a_note(tmp_path):
    for seed in range(4):
        runtime = {"name": "openvino", "openvino": "2026.4.1"} if seed % 2 else {"name": "eager"}
        inference = {"runtime": {**runtime, "exact": True}, "dtype": "float32", "device": "cpu"}
        settings = {"inference": inference}
        write_run(tmp_path, outcomes(0.2, seed), seed=seed, settings=settings)
        write_run(tmp_path, outcomes(0.9, seed), SMALL, (1, 2), seed=seed, settings=settings)
    content = make_report(tmp_path)
    ((pair,),) = content.comparisons
    assert pair.seeds == ((0, 1, 2, 3), (0, 1, 2, 3))
    (problem,) = content.problems
    assert not problem.left_out
    assert "eager (4 runs), openvino (4 runs): equal to rounding" in problem.text


def test_an_approximate_runtime_is_not_compared_with_an_exact_one(tmp_path):
    for seed in range(3):
        for scales, name in (((1,), "eager"), ((1, 2), "openvino-int8")):
            runtime = {"name": name, "exact": name == "eager"}
            settings = {"inference": {"runtime": runtime}}
            write_run(tmp_path, outcomes(0.2, seed), SMALL, scales, seed=seed, settings=settings)
    assert [len(pairs) for pairs in make_report(tmp_path).comparisons] == [0, 0]


def test_mixed_settings_are_named_and_not_compared(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.2, seed), seed=seed)
        settings = {"train": {"epochs": 30}, "camera": {"size": 128}}
        write_run(tmp_path, outcomes(0.9, seed), SMALL, (1, 2), seed=seed, settings=settings)
    content = make_report(tmp_path)
    assert [len(pairs) for pairs in content.comparisons] == [0, 0]
    (problem,) = content.problems
    assert problem.where == "level precise"
    assert not problem.left_out
    assert "train.epochs" in problem.text
    assert "camera.size" in problem.text
    assert problem.text.endswith("not compared with each other")


def test_groups_of_other_levels_are_no_problem(tmp_path):
    for level in ("easy", "precise"):
        for seed in range(3):
            write_run(tmp_path, outcomes(0.5, seed), seed=seed, level=level)
    assert make_report(tmp_path).problems == ()


def test_variants_without_a_shared_initial_state_are_named(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed)
        write_run(tmp_path, outcomes(0.5, seed), LARGE, seed=seed, first=64)
    content = make_report(tmp_path)
    (problem,) = content.problems
    assert problem.left_out
    assert problem.where == f"{SMALL} (1) and {LARGE} (1) (level precise)"
    assert "no initial state in common: not comparable" in problem.text


def test_too_few_seeds_are_named(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    for seed in range(3):
        write_run(tmp_path, outcomes(0.5, seed), LARGE, seed=seed)
    (problem,) = make_report(tmp_path).problems
    assert problem.text == (
        f"a verdict takes 3 finished training seeds of a variant; {SMALL} (1) has 1"
    )


def test_families_are_groups_and_tables_with_comparisons(tmp_path):
    for epochs in (30, 60):
        for scales in ((1,), (1, 2)):
            settings = {"train": {"epochs": epochs}}
            write_run(tmp_path, outcomes(0.5, 0), SMALL, scales, settings=settings)
    write_run(tmp_path, outcomes(0.5, 0), level="easy")
    names = [name for name, _ in make_report(tmp_path).families]
    assert sorted(names) == ["precise, mlp, train.epochs 30", "precise, mlp, train.epochs 60"]


def test_without_an_episode_there_is_no_report(tmp_path):
    write_run(tmp_path, [], planned=64)
    with pytest.raises(S2RobotError, match="has an episode yet"):
        make_report(tmp_path)


def test_a_file_of_the_sequential_runner_does_not_disturb(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    (tmp_path / "sequential.json").write_text("{}")
    assert len(make_report(tmp_path).groups) == 1


@pytest.mark.parametrize(
    ("one", "two", "sign", "verdict"),
    [(0.9, 0.5, "−", "worse"), (0.5, 0.9, "+", "better"), (0.6, 0.5, "−", "against")],
)
def test_words_tables_and_files_have_one_sign(tmp_path, capsys, one, two, sign, verdict):
    """Second minus first everywhere: the second variant has more scales."""
    for seed in range(3):
        write_run(tmp_path / "cells", outcomes(one, seed), seed=seed)
        write_run(tmp_path / "cells", outcomes(two, 10 + seed), SMALL, (1, 2), seed=seed)
    (tmp_path / "out").mkdir()
    files = {name: tmp_path / "out" / name for name in ("a.md", "a.xml", "c.md", "c.xml", "c.json")}
    words = ["--out", str(tmp_path / "out"), "--junit", str(files["a.xml"])]
    assert report([str(tmp_path / "cells"), *words, "--markdown", str(files["a.md"])]) == 0
    words = ["--junit", str(files["c.xml"]), "--markdown", str(files["c.md"])]
    labels = [f"{SMALL} (1)", f"{SMALL} (1, 2)"]
    compare([str(tmp_path / "cells"), *labels, *words, "--json", str(files["c.json"])])
    [group] = json.loads((tmp_path / "out" / "report.json").read_text())["groups"]
    [found] = group["comparisons"]
    assert (found["first"], found["second"]) == tuple(labels)
    number = f"{abs(100 * found['difference']):.1f}"
    assert (found["difference"] < 0) == (sign == "−")
    assert (
        json.loads(files["c.json"].read_text())["comparison"]["difference"] == (found["difference"])
    )
    texts = {name: files[name].read_text() for name in ("a.md", "a.xml", "c.md", "c.xml")}
    texts["page"] = (tmp_path / "out" / "report.html").read_text()
    texts["printed"] = capsys.readouterr().out
    opposite = "+" if sign == "−" else "−"
    joined = "against" if verdict == "against" else f"is {verdict} than"
    for name, text in texts.items():
        assert f"{sign}{number}" in text, name
        assert f"{opposite}{number}" not in text, name
        plain = text.replace("\\", "")
        assert f"{labels[1]} {joined} {labels[0]}: {sign}{number} points" in plain, name


def write_rates(root, rates, seeds=3, **settings):
    """Write runs of each backbone with the same rate for every seed."""
    for backbone, rate in rates.items():
        for seed in range(seeds):
            write_run(root / "cells", outcomes(rate, seed), backbone, seed=seed, **settings)


@pytest.mark.parametrize(
    ("rates", "where", "text"),
    [
        (
            {"state": 0.0, SMALL: 0.3},
            "ground-truth position",
            "0.0 % [0 to 2]: a policy that",
        ),
        ({"state": 0.5, SMALL: 0.3}, "ground-truth position", "is not reliable either"),
        ({"none": 0.5, SMALL: 0.6}, "blind", "a policy without eyes succeeds"),
        ({SMALL: 0.0, LARGE: 0.0}, "every encoder near 0 %", "level=easy"),
        ({SMALL: 1.0, LARGE: 1.0}, "every encoder near 100 %", "level=precise"),
    ],
)
def test_a_control_that_fails_is_warned_of_everywhere(tmp_path, capsys, rates, where, text):
    write_rates(tmp_path, rates)
    out, table = tmp_path / "out", tmp_path / "table.md"
    words = [str(tmp_path / "cells"), "--out", str(out), "--markdown", str(table)]
    assert report([*words, "--junit", str(tmp_path / "a.xml")]) == 0
    [problem] = json.loads((out / "report.json").read_text())["problems"]
    assert (problem["where"], problem["left_out"]) == (f"level precise, mlp, {where}", False)
    assert text in problem["text"]
    printed = capsys.readouterr().err
    page = (out / "report.html").read_text()
    assert f"noticed: {problem['where']}: {problem['text']}" in printed
    assert f"Caution: {problem['where']}" in page
    assert where in table.read_text()
    assert where in (tmp_path / "a.xml").read_text()


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ({"none": 0.5, SMALL: 0.6}, "Check that what is to be reached varies between them"),
        ({SMALL: 0.0, LARGE: 0.0}, "more demonstrations or training, or take an easier task"),
        ({SMALL: 1.0, LARGE: 1.0}, "take a harder task, or fewer demonstrations"),
    ],
)
def test_advice_on_other_tasks_names_no_levels_of_pick_cube(tmp_path, rates, text):
    write_rates(tmp_path, rates, level="module:own.Reach")
    [problem] = make_report(tmp_path).problems
    assert text in problem.text
    assert "level=" not in problem.text
    assert "cube" not in problem.text


def test_controls_as_they_should_be_are_not_warned_of(tmp_path):
    write_rates(tmp_path, {"state": 0.95, "none": 0.02, SMALL: 0.5, LARGE: 0.0})
    assert make_report(tmp_path).problems == ()


def test_compare_warns_of_the_controls_of_its_variants(tmp_path, capsys):
    write_rates(tmp_path, {"state": 0.0, SMALL: 0.3, LARGE: 0.4})
    compare([str(tmp_path / "cells"), f"{SMALL} (1)", f"{LARGE} (1)"])
    assert "ground-truth position: 0.0 %" in capsys.readouterr().err


def test_a_single_variant_has_its_rate_in_markdown(tmp_path):
    write_rates(tmp_path, {SMALL: 0.5}, seeds=1)
    table = tmp_path / "table.md"
    assert report([str(tmp_path / "cells"), "--out", str(tmp_path), "--markdown", str(table)]) == 0
    assert "| mvp-vits-hoi (1) | 48.4 % | 37 to 60 | 1 | 31 / 64 |" in table.read_text()
