"""Bags that are written: whole or absent, folders around them included."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="the extra `ros` is not installed")

from s2robot.data.rosbag.writing import writing_bag


@pytest.mark.parametrize("name", ["run.mcap", "run.bag", "run"])
def test_a_recording_without_messages_leaves_no_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writing_bag(tmp_path / "new" / name):
        raise RuntimeError("no message arrived")
    assert list(tmp_path.iterdir()) == []


def test_a_bag_that_exists_is_kept_and_the_flag_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.mcap").write_bytes(b"")
    with pytest.raises(ValueError, match="give another name, or --force to replace it"):
        with writing_bag(tmp_path / "run.mcap"):
            pass
