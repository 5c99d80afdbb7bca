"""Checks that the readers of recorded demonstrations share."""

import numpy as np
import pytest

from s2robot.data.datasets.contract import checked_rows, choose
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
