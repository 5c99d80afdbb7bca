"""The page and the picture: self-contained, complete, honest about what is missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from support.synthetic_runs import LARGE, SMALL, change_run, outcomes, write_run

from s2robot.errors import S2RobotError
from s2robot.reporting import html_report as module
from s2robot.reporting.html_report import ReportPaths, write_report


class Page(HTMLParser):
    """Collects what a page would fetch, and checks that its tags nest."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("cells")
    for seed in range(2):
        write_run(root, outcomes(0.7, seed), seed=seed, strips=2)
        write_run(root, outcomes(0.8, 10 + seed), SMALL, (1, 2), seed=seed)
        write_run(
            root, outcomes(0.75, 20 + seed), SMALL, (1, 2), seed=seed, input_mode="interpolate"
        )
    write_run(root, outcomes(0.8, 30, n=16), LARGE, planned=64)
    write_run(root, outcomes(0.05, 4), "none")
    write_run(root, outcomes(0.98, 5), "state")
    return root


@pytest.fixture(scope="module")
def paths(runs, tmp_path_factory) -> ReportPaths:
    return write_report(runs, tmp_path_factory.mktemp("report"), title="Scales & sizes <test>")


@pytest.fixture(scope="module")
def html(paths) -> str:
    return paths.html.read_text(encoding="utf-8")


@pytest.fixture
def without_figures(monkeypatch) -> None:
    monkeypatch.setattr(module, "success_svg", lambda *_, **__: "")
    monkeypatch.setattr(module, "success_png", lambda *_: None)


def test_the_page_is_well_formed_and_fetches_nothing(html):
    page = Page(html)
    assert page.open == []
    outside = [link for link in page.links if not link.startswith(("data:", "#"))]
    assert outside == []
    assert not re.search(r"url\((?!#)", html)
    assert "Scales & sizes <test>" in page.text  # escaped in the source


def test_the_page_holds_every_variant_count_and_baseline(html):
    text = " ".join(Page(html).text.replace("\u00a0", " ").split())
    for label in (f"{SMALL} (1)", f"{SMALL} (1, 2)", f"{SMALL} (1, 2) interpolated", "blind"):
        assert label in text
    successes = sum(outcomes(0.7, seed).sum() for seed in range(2))
    assert f"{successes} / 128" in text
    assert "21.7 M" in text
    assert "ground-truth position" in text
    assert "Do more scales help?" in text
    assert "10.0 / 14.0" in text
    assert "abcdef" in text


def test_intervals_of_one_seed_are_named_as_this_policys_only(html):
    text = Page(html).text
    assert text.count("one seed: this policy only") == 3  # an encoder with one run, both baselines
    assert "pooled" not in html


def test_verdicts_and_what_they_take_are_on_the_page(html):
    text = Page(html).text
    assert "A verdict takes 3 training seeds of each variant" in text
    assert "not shown" in text
    assert "No difference shown" in text


def test_running_and_missing_runs_are_listed(html):
    text = Page(html).text
    assert "Missing runs" in text
    assert f"{LARGE} (1), seed 0: 16 of 64 episodes" in text
    assert f"{LARGE} (1), seed 1: no run" in text


def test_strips_of_failures_are_embedded(html):
    assert html.count("data:image/jpeg;base64,") == 2
    assert "reached, never grasped" in html


def test_figures_take_the_pages_text_color_and_keep_their_ids_apart(html):
    assert html.count("<svg") == 2
    assert "#16181d" not in html.split("</style>")[1]
    ids = re.findall(r'<(?:clipPath|path) id="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_the_picture_is_written_beside_the_page(paths):
    assert [path.name for path in paths] == ["report.html", "report.png", "report.json"]
    with Image.open(paths.png) as image:
        assert min(image.size) > 500


def test_the_same_runs_give_the_same_page(runs, html, tmp_path):
    again = write_report(runs, tmp_path, title="Scales & sizes <test>")
    assert again.html.read_text(encoding="utf-8") == html


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("gpus", [(None, None), (None, "H100")])
def test_milliseconds_of_several_machines_are_marked(tmp_path, gpus):
    for seed, gpu in enumerate(gpus):
        run = write_run(tmp_path, outcomes(0.5, seed), seed=seed)
        summary = json.loads((run / "summary.json").read_text())
        machine = {"machine": {"processor": "AMD EPYC", "gpu": gpu}}
        (run / "summary.json").write_text(json.dumps({**summary, "provenance": machine}))
    text = Page(write_report(tmp_path, tmp_path / "out").html.read_text(encoding="utf-8")).text
    assert "encoder and policy, on AMD EPYC" in text
    assert ("several machines" in text) is (gpus[1] is not None)


@pytest.mark.usefixtures("without_figures")
def test_two_levels_make_two_sections(tmp_path):
    for level in ("easy", "precise"):
        write_run(tmp_path, outcomes(0.5, 0), level=level)
    page = write_report(tmp_path, tmp_path / "out").html.read_text(encoding="utf-8")
    assert page.count("<h2>Level") == 2


@pytest.mark.usefixtures("without_figures")
def test_problems_are_on_the_page_and_the_rest_is_reported(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    change_run(write_run(tmp_path, outcomes(0.5, 0), LARGE), format=1)
    change_run(write_run(tmp_path, outcomes(0.5, 1), seed=1), label="a\ud800<b>")
    page = write_report(tmp_path, tmp_path / "out").html.read_text(encoding="utf-8")
    text = Page(page).text
    assert "Left out, noticed" in text
    assert "cell.json is of format 1" in text
    assert "label in cell.json holds characters that cannot be written" in text
    assert f"{SMALL} (1)" in text


def test_labels_are_no_formulas(tmp_path):
    """Matplotlib reads text between dollar signs as TeX."""
    change_run(write_run(tmp_path, outcomes(0.5, 0), "$\\bad$", scales=()), gflops_per_frame=9.2)
    assert "bad" in write_report(tmp_path, tmp_path / "out").html.read_text(encoding="utf-8")


@pytest.mark.usefixtures("without_figures")
def test_groups_of_one_level_name_what_tells_them_apart(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.5, 0), settings={"train": {"epochs": 30}})
    page = write_report(tmp_path, tmp_path / "out").html.read_text(encoding="utf-8")
    assert "the one with train.epochs 30" in page
    assert "the one with train.epochs 60" in page
    assert re.search("train.epochs (30 against 60|60 against 30): not compared", page)


def test_baselines_alone_make_a_page(tmp_path):
    write_run(tmp_path, outcomes(0.05, 0), "none")
    page = write_report(tmp_path, tmp_path / "out").html.read_text(encoding="utf-8")
    assert "blind" in page


@pytest.mark.usefixtures("without_figures")
def test_metric_at_the_end_counts_drops_as_failures(tmp_path):
    write_run(tmp_path, [True] * 16)
    page = write_report(tmp_path, tmp_path / "out", metric="success_at_end").html
    assert "<b>87.5 %</b>" in page.read_text(encoding="utf-8")


def test_nothing_to_report_is_an_error_that_leaves_no_file(tmp_path):
    with pytest.raises(S2RobotError, match="no runs under"):
        write_report(tmp_path, tmp_path / "out")
    write_run(tmp_path, [], planned=64)
    with pytest.raises(S2RobotError, match="has an episode yet"):
        write_report(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"unknown metric 'success'.*success_once"):
        write_report(tmp_path, tmp_path / "out", metric="success")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_figures")
def test_an_answer_that_groups_give_in_the_same_words_stands_once(tmp_path):
    for digest in ("a", "b", "c"):
        demonstrations = {"demonstrations": {"digest": digest}}
        write_run(tmp_path, outcomes(0.5, 0), level="module:push.Push", settings=demonstrations)
    paths = write_report(tmp_path, tmp_path / "out")
    page = paths.html.read_text(encoding="utf-8")
    assert page.count('<p class="answer">') == 1
    assert "different demonstrations: not compared with each other" in page
    assert "the one with demonstrations of digest a" in page
    answers = [group["answers"] for group in json.loads(paths.json.read_text())["groups"]]
    assert len(answers) == 3


@pytest.mark.usefixtures("without_figures")
def test_recorded_demonstrations_are_no_level(tmp_path):
    demos = {"digest": "d", "n": 12, "level": "recorded"}
    change_run(write_run(tmp_path, outcomes(0.5, 0)), demos=demos)
    page = write_report(tmp_path, tmp_path / "out").html.read_text(encoding="utf-8")
    assert "; 12 recorded demonstrations; 1 training seed." in page
