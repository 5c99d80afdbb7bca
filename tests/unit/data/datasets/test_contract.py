"""Checks that the readers of recorded demonstrations share."""

import numpy as np
import pytest

from s2robot.data.datasets.contract import check_times, checked_rows, choose, no_camera
from s2robot.errors import CorruptFileError


def test_a_camera_named_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        choose("camera", ["front", "front"], ["front"], "lift.hdf5")


def test_a_camera_of_a_data_set_without_any_is_refused():
    with pytest.raises(ValueError, match="lift.hdf5 has no camera at all"):
        choose("camera", ["front"], [], "lift.hdf5")


def test_named_keys_keep_their_order():
    assert choose("camera", ["wrist", "front"], ["front", "wrist"], "x") == ("wrist", "front")


def test_one_number_a_row_becomes_a_column():
    assert checked_rows("x", np.arange(3)).shape == (3, 1)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((3, 2, 2)), "table of numbers"),
        (np.array([["a"]]), "table of numbers"),
        (np.zeros((2, 2)), "2 rows; the episode has 3"),
        (np.zeros((3, 5)), "5 entries a row; the episodes before have 2"),
        (np.full((3, 2), np.nan), "NaN or infinities in 3 rows, the first is row 0"),
    ],
)
def test_a_table_of_another_kind_or_size_is_refused_by_name(values, why):
    with pytest.raises(CorruptFileError, match=f"demo_1/actions .*{why}"):
        checked_rows("demo_1/actions", values, rows=3, entries=2)


@pytest.mark.parametrize(
    ("times_s", "why"),
    [
        ([0.0, 0.1, 0.2, 0.3, 0.0], "time_s is 0 in row 4 and 0.3 in the row before"),
        ([0.0, 0.1, 0.1], r"time_s is 0.1 in row 2 and 0.1 in the row before \(1 such of 3 rows"),
        ([0.0, np.nan, 0.2], r"time_s is nan in row 1 \(1 of 3 rows\)"),
    ],
)
def test_times_that_do_not_grow_are_refused_with_row_and_values(times_s, why):
    with pytest.raises(CorruptFileError, match=f"{why}.*; correct it"):
        check_times("time_s", np.array(times_s), "correct it")
    check_times("time_s", np.array([5.0, 5.1, 7.0]), "correct it")


@pytest.mark.parametrize(
    ("dtype", "shape", "code"),
    [
        ("float32", (9, 3, 8, 8), "np.rint(255 * np.moveaxis(frames, 1, -1)).astype(np.uint8)"),
        ("uint8", (9, 8, 8, 4), "frames[..., :3]"),
        ("int64", (9, 8, 8, 3), "frames.astype(np.uint8)"),
    ],
)
def test_images_of_another_type_or_layout_are_told_the_code_that_mends_them(dtype, shape, code):
    frames = np.ones(shape, dtype)
    assert no_camera("front", frames.dtype, shape).partition(". Write it as ")[2].startswith(code)
    mended = eval(code, {"np": np, "frames": frames})
    assert (mended.shape, mended.dtype) == ((9, 8, 8, 3), np.uint8)
