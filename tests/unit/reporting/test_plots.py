"""The success plot: labels that cover nothing, variants of equal cost side by side."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.text import Annotation
from support.synthetic_runs import LARGE, RANDOM, SMALL, change_run, outcomes, write_run

from s2robot.reporting import plots
from s2robot.reporting.label_placement import overlap
from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import ComparisonGroup, group_runs


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> ComparisonGroup:
    root = tmp_path_factory.mktemp("cells")
    for backbone, scales, mode in (
        (SMALL, (1,), "native"),
        (SMALL, (1, 2), "native"),
        (SMALL, (1, 2), "interpolate"),
        (SMALL, (1, 2, 3), "native"),
        (LARGE, (1,), "native"),
        (RANDOM, (1,), "native"),
        ("none", (), "native"),
        ("state", (), "native"),
    ):
        rate = {"none": 0.1, "state": 0.99}.get(backbone, 0.8)
        write_run(root, outcomes(rate, 3), backbone, scales, input_mode=mode)
    (found,) = group_runs(load_runs(root))
    return found


@pytest.mark.parametrize("size", [(8.6, 4.4), (4.3, 4.6)])
def test_labels_do_not_overlap_and_stay_inside(group, size):
    figure = plots._figure(size, [group], "success_once", columns=1)
    (axes,) = figure.axes
    labels = [child for child in axes.get_children() if isinstance(child, Annotation)]
    assert len(labels) == len(group.variants)
    boxes = [label.get_window_extent().padded(-1) for label in labels]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_variants_of_equal_cost_stand_apart(group):
    positions = plots._positions(group.encoders)
    assert len(set(positions.values())) == len(group.encoders)
    for variant in group.encoders:
        assert positions[variant.label] == pytest.approx(variant.gflops, rel=0.1)


def test_lines_follow_more_scales_and_both_inputs_start_at_one_scale(group):
    lines = plots._lines(group.encoders)
    texts = [[(variant.scales_text, variant.input_mode) for variant in line] for line in lines]
    native = [("(1)", "native"), ("(1, 2)", "native"), ("(1, 2, 3)", "native")]
    assert texts == [native, [("(1)", "native"), ("(1, 2)", "interpolate")]]


def test_random_weights_are_gray_and_others_are_not(group):
    styles = plots._styles(group)
    gray = {backbone for (backbone, _), style in styles.items() if style.color == plots.GRAY}
    assert gray == {RANDOM}


def test_an_encoder_of_unknown_cost_is_left_out(tmp_path):
    change_run(write_run(tmp_path, outcomes(0.5, 0)), gflops_per_frame=None)
    write_run(tmp_path, outcomes(0.5, 0), LARGE)
    (group,) = group_runs(load_runs(tmp_path))
    figure = plots._figure((4.3, 4.6), [group], "success_once", columns=1)
    labels = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]
    assert [label.get_text() for label in labels] == ["(1)"]


def test_overlap_is_the_shared_area():
    box = np.array([0.0, 0, 2, 2])
    others = np.array([[1.0, 1, 3, 3], [2, 2, 3, 3], [0, 0, 2, 2]])
    np.testing.assert_allclose(overlap(box, others), [1, 0, 4])
