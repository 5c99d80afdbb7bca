"""The page in a real browser: filters, sorting, the deadline, hover, downloads, videos, colors."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import CONTRAST, DESKTOP, PHONE, OpenPage, chromium
from support.synthetic_runs import LARGE, OTHER, SMALL, outcomes, write_run

from s2robot.evaluation.episode_videos import write_video
from s2robot.reporting.html_report import write_files
from s2robot.reporting.report import make_report

MS = {SMALL: 12.0, LARGE: 40.0, OTHER: 9.0}
TEXT = "p th td b small figcaption summary label button code option a li .entry .chart-legend>span"


def timed(run: Path, ms: float, video: bool) -> None:
    """Give a run a latency of one frame, and a video of a failure and a success."""
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    summary["latency_ms"]["single_frame"]["total"] = {"p50": ms, "p95": 1.2 * ms}
    if video:
        frames = [np.full((32, 32, 3), 8 * i, np.uint8) for i in range(20)]
        summary["videos"] = ["videos/failure_00000.mp4", "videos/success_00001.mp4"]
        (run / "videos").mkdir()
        for name in summary["videos"]:
            write_video(run / name, frames, 5)
    path.write_text(json.dumps(summary))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cells")
    for level in ("easy", "precise"):
        for seed in range(3):
            for backbone, scales, rate in (
                (SMALL, (1,), 0.3), (SMALL, (1, 2), 0.9), (LARGE, (1,), 0.5), (OTHER, (1,), 0.4),
            ):  # fmt: skip
                run = write_run(
                    root, outcomes(rate, seed), backbone, scales, seed=seed, level=level
                )
                ms = MS[backbone] * (3 if len(scales) > 1 else 1)
                timed(run, ms, video=level == "easy" and seed == 0 and backbone == SMALL)
            timed(write_run(root, outcomes(0.05, seed), "none", seed=seed, level=level), 0.5, False)
    out = tmp_path_factory.mktemp("report")
    return write_files(make_report(root), out, deadline_ms=30.0).html


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[OpenPage]:
    found = OpenPage(browser, report, DESKTOP)
    yield found
    found.context.close()


@pytest.fixture(params=[(DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)],
                ids=["desktop", "desktop-dark", "phone", "phone-dark"])  # fmt: skip
def every(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[OpenPage]:
    found = OpenPage(browser, report, *request.param)
    yield found
    found.context.close()


def labels(page: Any, section: int = 0) -> list[str]:
    """Labels of the encoders' table that are shown, in order."""
    rows = page.query_selector_all(f"section[data-group='{section}'] table.variants tbody tr")
    found = [row.query_selector("th") for row in rows if row.is_visible()]
    return [cell.inner_text().replace("\u00a0", " ") for cell in found if cell]


def dots(page: Any) -> int:
    return len(page.query_selector_all("section[data-group='0'] .chart g[aria-label=dot] > *"))


def deadline_x(page: Any) -> float:
    line = page.query_selector("section[data-group='0'] .chart [aria-label=deadline]")
    return float(line.bounding_box()["x"])


def downloaded(page: Any, button: Any) -> str:
    with page.expect_download() as waiting:
        button.click()
    return Path(waiting.value.path()).read_text(encoding="utf-8")


def test_nothing_fails_nothing_is_fetched_and_nothing_scrolls_sideways(every):
    page = every.page
    page.click("details.episodes >> nth=0")
    page.click("#terms summary")
    page.check("input[value=gflops]")
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    assert every.errors == []
    assert every.outside() == []


def test_text_and_markers_stand_out_from_their_ground(every):
    every.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    every.page.wait_for_selector(".episodes .list td")
    ratios = every.page.evaluate(CONTRAST, [[each, "color"] for each in TEXT.split()])
    assert len(ratios) > 300
    ratios += every.page.evaluate(CONTRAST, [[".chart text", "fill"]])
    assert [each for each in ratios if each[0] < 4.5] == []
    marks = every.page.evaluate(CONTRAST, [[".chart g[aria-label=dot] > *", "stroke"]])
    assert len(marks) >= 8
    assert [each for each in marks if each[0] < 3] == []


def test_the_page_opens_with_the_answer_for_each_family(opened):
    text = opened.page.inner_text(".answers")
    assert text.startswith("More scales for mvp (level easy, policy mlp).")
    assert opened.page.query_selector("h1 + .answers")
    assert "Not shown for r3m" in text


def test_filters_hide_rows_points_levels_and_videos(opened):
    page = opened.page
    assert (len(labels(page)), dots(page)) == (5, 4)
    page.uncheck("input[value='(1, 2)']")
    assert (len(labels(page)), dots(page)) == (4, 3)
    assert not any("(1, 2)" in label for label in labels(page))
    pairs = page.query_selector_all("section[data-group='0'] table.pairs tbody tr:visible")
    assert pairs
    assert not any("1,\u00a02" in row.inner_text() for row in pairs)
    assert len(page.query_selector_all(".videos figure:visible")) == 2
    page.uncheck("#filter-family input[value=mvp]")
    assert labels(page) == [f"{OTHER} (1)", "blind"]
    assert page.query_selector_all(".videos figure:visible") == []
    page.uncheck("#filter-level input[value=easy]")
    assert labels(page) == []
    assert len(labels(page, 1)) == 2


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_the_order(opened):
    page = opened.page
    heading = "section[data-group='0'] table.variants th:nth-child(2)"
    page.click(f"{heading} button")
    down = labels(page)
    assert down[0] == f"{SMALL} (1, 2)"
    assert down[-1] == "blind"
    assert page.get_attribute(heading, "aria-sort") == "descending"
    page.click(f"{heading} button")
    assert labels(page) == down[::-1]
    page.focus("section[data-group='0'] table.variants th:nth-child(6) button")
    page.keyboard.press("Enter")
    assert labels(page)[0] == f"{SMALL} (1, 2)"  # most GFLOP


def test_the_deadline_moves_and_names_the_best_within_it(opened):
    page = opened.page
    first = deadline_x(page)
    assert f"Within 30 ms, {OTHER} (1) has the highest rate" in page.inner_text(".budget")
    page.fill("#budget", "38")
    assert deadline_x(page) > first + 5
    assert f"Within 38 ms, {SMALL} (1, 2) has the highest rate" in page.inner_text(".budget")
    assert "told apart" in page.inner_text(".budget")
    assert "26.3 Hz" in page.inner_text("#rate")
    page.focus("#budget-range")
    page.keyboard.press("Home")
    assert f"{OTHER} (1) comes nearest with 9 ms" in page.inner_text(".budget")
    page.fill("#budget", "")
    assert page.query_selector("[aria-label=deadline]") is None
    assert "Without a limit" in page.inner_text(".budget")


def test_the_axis_switches_between_milliseconds_and_gflop(opened):
    page = opened.page
    axis = "section[data-group='0'] .chart svg"
    assert "measured median" in page.text_content(axis)
    page.check("input[value=gflops]")
    assert "GFLOP, log scale" in page.text_content(axis)
    assert "budget from [GFLOP]" in page.inner_text(".spots")
    assert page.query_selector("[aria-label=deadline]") is None  # it is one of milliseconds


def test_the_sweet_spots_are_those_of_the_json_file(opened, report):
    content = json.loads(report.with_suffix(".json").read_text())
    for cost in ("ms", "gflops"):
        opened.page.check(f"input[value={cost}]")
        rows = opened.page.query_selector_all("section[data-group='0'] .spots tbody tr")
        cells = [[c.inner_text() for c in row.query_selector_all("th, td")] for row in rows]
        stored = content["groups"][0]["sweet_spots"][cost]
        assert [(float(c[0]), c[1], c[3]) for c in cells] == [
            (pytest.approx(s["budget"], rel=0.01), s["best"], s["runner_up"] or "–") for s in stored
        ]
        assert [c[5] == "told apart" for c in cells] == [s["told_apart"] for s in stored]


def test_hover_and_the_keyboard_show_the_numbers_of_a_point(opened):
    page = opened.page
    dot = page.query_selector(
        f"section[data-group='0'] g[aria-label=dot] > [aria-label^='{LARGE} (1)']"
    )
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("section[data-group='0'] g[aria-label=tip] text")
    tip = page.text_content("section[data-group='0'] g[aria-label=tip]")
    assert f"{LARGE} (1)" in tip
    assert "40 ms a frame" in tip
    page.mouse.move(5, 5)
    page.query_selector("section[data-group='0'] g[aria-label=dot] > *").focus()
    assert "ms a frame" in page.inner_text("section[data-group='0'] .detail")


def test_the_box_of_a_point_is_readable_in_both_color_schemes(every):
    page = every.page
    dot = page.query_selector("section[data-group='0'] g[aria-label=dot] > *")
    dot.hover()
    page.wait_for_selector("section[data-group='0'] g[aria-label=tip] text")
    fill, text = page.evaluate(
        "['path', 'text'].map((tag) => getComputedStyle(document.querySelector("
        "`section[data-group='0'] g[aria-label=tip] ${tag}`)).fill)"
    )
    values = [list(map(int, re.findall(r"\d+", color)[:3])) for color in (fill, text)]
    brightness = [sum(value) / 3 for value in values]
    assert abs(brightness[0] - brightness[1]) > 180


def test_downloads_hold_the_rows_that_are_shown_in_their_order(opened):
    page = opened.page
    page.uncheck("#filter-family input[value=r3m]")
    page.click("section[data-group='0'] table.variants th:nth-child(2) button")
    buttons = page.query_selector_all("section[data-group='0'] [data-download^=variants] button")
    rows = list(csv.DictReader(io.StringIO(downloaded(page, buttons[0]))))
    assert [row["label"] for row in rows] == labels(page)
    assert json.loads(downloaded(page, buttons[1]))[0]["ms"] == 36.0
    buttons = page.query_selector_all("section[data-group='0'] [data-download^=pairs] button")
    pairs = json.loads(downloaded(page, buttons[1]))
    assert len(pairs) == 3
    scales = next(row for row in pairs if row["question"] == "scales")
    assert scales["second"] == f"{SMALL} (1, 2)"
    assert scales["second_minus_first"] > 30


def test_every_episode_is_listed_with_its_command_and_can_be_downloaded(opened):
    page = opened.page
    page.click("section[data-group='0'] details.episodes summary")
    box = "section[data-group='0'] .episodes"
    assert "25 of 960 episodes" in page.inner_text(box)
    page.select_option(f"{box} .pick-variant", label="blind")
    page.select_option(f"{box} .pick-stage", "none")
    rows = json.loads(downloaded(page, page.query_selector_all(f"{box} .downloads button")[1]))
    wanted = sum(outcomes(0.05, seed)[i] and i % 8 != 0 for seed in range(3) for i in range(64))
    assert len(rows) == wanted
    assert all(row["variant"] == "blind" and row["success_once"] is True for row in rows)
    assert rows[0]["replay"].startswith("s2robot replay ")
    assert rows[0]["replay"].endswith(f" {rows[0]['index']}")


def test_a_command_is_copied(browser, report):
    found = OpenPage(browser, report, DESKTOP)
    found.context.grant_permissions(["clipboard-read", "clipboard-write"])
    found.page.click(".videos .copy >> nth=0")
    found.page.wait_for_selector(".videos .copy:has-text('Copied')")
    text = found.page.evaluate("navigator.clipboard.readText()")
    assert text == found.page.inner_text(".videos code >> nth=0")
    found.context.close()


def test_videos_play(every):
    video = every.page.query_selector("video")
    video.scroll_into_view_if_needed()
    every.page.wait_for_function("(v) => v.readyState >= 2", arg=video)
    moved = every.page.evaluate(
        "(v) => v.play().then(() => new Promise((done) => v.addEventListener('timeupdate', () => "
        "{ if (v.currentTime > 0.2) done([v.currentTime, v.videoWidth]); })))",
        video,
    )
    assert moved[0] > 0.2
    assert moved[1] == 32
