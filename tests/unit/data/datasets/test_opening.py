"""Recognition of layouts, and messages for what is none."""

from pathlib import Path

import h5py
import pytest

from s2robot.data.datasets.opening import LAYOUTS, layout_of, open_dataset


def _file(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        ("meta/info.json", "lerobot"),
        ("episode_0/table.csv", "episode_folder"),
        ("episode_0/table.jsonl", "episode_folder"),
        ("episode_0/table.npz", "episode_folder"),
    ],
)
def test_a_folder_is_recognized_by_what_it_holds(tmp_path, inside, name):
    _file(tmp_path / inside)
    assert layout_of(tmp_path) == name


def test_files_are_recognized_by_ending_or_by_the_signature_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "unnamed", "w"):
        pass
    assert layout_of(tmp_path / "unnamed") == "robomimic"
    assert layout_of(_file(tmp_path / "lift.HDF5")) == "robomimic"


@pytest.mark.parametrize("inside", ["metadata.yaml", "first.mcap", "first/metadata.yaml"])
def test_bags_and_folders_of_bags_are_recognized(tmp_path, inside):
    path = _file(tmp_path / inside)
    assert layout_of(tmp_path) == "bags"
    if path.suffix == ".mcap":
        assert layout_of(path) == "bags"


def test_a_missing_path_is_refused_with_all_layouts(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder") as error:
        open_dataset(tmp_path / "absent.hdf5")
    assert all(layout.described in str(error.value) for layout in LAYOUTS.values())


@pytest.mark.parametrize("make_folder", [True, False])
def test_an_unknown_layout_is_refused_with_all_layouts(tmp_path, make_folder):
    path = _file(tmp_path / "set" / "notes.txt")
    with pytest.raises(ValueError, match=r"layout \(it holds notes.txt|no file of dem") as error:
        open_dataset(path.parent if make_folder else path)
    assert all(layout.described in str(error.value) for layout in LAYOUTS.values())


def test_a_folder_of_hdf5_files_is_refused_with_the_file_to_give(tmp_path):
    _file(tmp_path / "lift.hdf5")
    with pytest.raises(ValueError, match=r"is a folder; give one file, such as .*lift\.hdf5"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("inside", "given", "meant"),
    [
        ("set/meta/info.json", "set/meta/info.json", "set"),
        ("set/episode_0/table.csv", "set/episode_0/table.csv", "set"),
        ("set/episode_0/table.csv", "set/episode_0", "set"),
        ("hub/set/meta/info.json", "hub", "hub/set"),
    ],
)
def test_a_part_or_parent_of_a_data_set_is_refused_with_the_folder_to_give(
    tmp_path, inside, given, meant
):
    _file(tmp_path / inside)
    with pytest.raises(ValueError, match="give") as error:
        open_dataset(tmp_path / given)
    assert f" {tmp_path / meant} " in f"{error.value} "


def test_a_table_in_the_working_directory_is_refused_with_the_folder_to_give(tmp_path, monkeypatch):
    monkeypatch.chdir(_file(tmp_path / "set" / "episode_0" / "table.csv").parent)
    with pytest.raises(ValueError, match=f"give its folder, {tmp_path / 'set'}$"):
        open_dataset("table.csv")


def test_a_lerobot_folder_without_its_description_is_recognized(tmp_path: Path) -> None:
    for name in ("data", "meta", "videos"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=r"looks like a LeRobot folder, but has no meta/info.json"):
        layout_of(tmp_path)
