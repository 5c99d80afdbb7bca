"""Words of a report by task: a cube is spoken of in pick-cube alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.synthetic_runs import change_run, outcomes, write_run

from s2robot.reporting.html_report import write_files
from s2robot.reporting.page.chart_data import page_data
from s2robot.reporting.page.glossary import glossary
from s2robot.reporting.page.task_words import heading, stages_of, success_text
from s2robot.reporting.report import make_report

OWN = "module:push.Push"
OF_CUBES = re.compile(r"cube|grasp|lifted|holding|\blevel", re.IGNORECASE)


def page_of(folder: Path) -> str:
    """Return the page of some runs without its styles, scripts and data."""
    page = write_files(make_report(folder), folder / "out").html.read_text(encoding="utf-8")
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def shown(page: str) -> str:
    """Return what a page shows, without its tags."""
    return re.sub(r"<[^>]*>", " ", page)


def test_the_page_of_another_task_speaks_of_success_alone(tmp_path: Path) -> None:
    for seed in range(2):
        run = write_run(tmp_path, outcomes(0.5, seed), seed=seed, level=OWN, strips=1)
        change_run(run, demos=None)
        rows = (run / "episodes.jsonl").read_text()
        (run / "episodes.jsonl").write_text(rows.replace('"grasp"', '"timeout"'))
    page = page_of(tmp_path)
    text = shown(page).split("Provenance")[0]
    assert "An episode is a success if its task reports success at any step." in text
    assert f"Task “{OWN}”" in text
    assert "not successful in time" in page
    found = set(
        OF_CUBES.findall(
            text.replace("which only pick-cube has, the true position of the cube", "")
        )
    )
    assert found == set()


def test_the_page_of_levels_speaks_of_the_cube_as_before(tmp_path: Path) -> None:
    write_run(tmp_path, outcomes(0.5, 0))
    page = page_of(tmp_path)
    assert "An episode is a success if the cube is lifted at any step." in page
    assert "Level “precise”" in page
    assert "reached, never grasped" in page


def test_each_section_has_the_stages_of_its_task(tmp_path: Path) -> None:
    write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.5, 0), level=OWN)
    report = make_report(tmp_path)
    data = page_data(report, None)
    assert [group.level for group in report.groups] == [OWN, "precise"]
    assert [list(stages) for stages in data["stages"]] == [
        ["none", "drop", "timeout"],
        ["none", "drop", "timeout", "lift", "grasp", "reach"],
    ]
    assert data["tasks"] == "Task"


@pytest.mark.parametrize("metric", ["success_once", "success_at_end"])
def test_levels_and_tasks_on_one_page_have_both_their_words(metric: str) -> None:
    text = success_text(["easy", OWN], metric)
    assert text.startswith("An episode of pick-cube is a success if the cube is ")
    assert ", one of another task if its task reports success " in text
    assert heading(["easy"]) == "Level"


def test_terms_of_other_tasks_have_no_state_of_a_cube() -> None:
    assert "arm and cube" in glossary(["easy"])["initial state"]
    assert "cube" not in glossary([OWN])["initial state"]
    assert all(glossary([OWN]).values())
    assert stages_of(OWN)["timeout"] == "not successful in time"
