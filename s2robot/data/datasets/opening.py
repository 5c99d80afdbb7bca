"""Recognition of the layout of recorded demonstrations, and their opening."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from s2robot.data.bag_paths import BAGS, is_bag
from s2robot.data.datasets.contract import EpisodeDataset

HDF5 = (".hdf5", ".h5", ".hdf")
"""File endings of robomimic's files."""
TABLES = ("table.csv", "table.jsonl", "table.npz")
"""Files that make a folder an episode of a folder of episodes."""
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Layout:
    """A layout of recorded demonstrations and its reader."""

    name: str
    """Name; its reader is ``open_NAME`` in the module of that name."""
    described: str
    """What a user gives, for messages."""


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("robomimic", f"a robomimic file with images ({', '.join(HDF5)})"),
        Layout("lerobot", "a LeRobot v3 folder (with meta/info.json)"),
        Layout("episode_folder", f"a folder of episodes (subfolders with {' or '.join(TABLES)})"),
        Layout("bags", f"a folder of ROS bags ({', '.join(BAGS)})"),
    )
}
"""Layouts by name."""


def open_dataset(
    source: str | Path,
    cameras: Sequence[str] | None = None,
    low_dim: Sequence[str] | None = None,
    action: Sequence[str] | None = None,
    tolerance_s: float | None = None,
    need_actions: bool = True,
) -> EpisodeDataset:
    """Open recorded demonstrations of any layout that ``LAYOUTS`` lists.

    Args:
        source: file or folder.
        cameras: keys of the cameras to use; None for all that it has.
        low_dim: keys of the low-dimensional observations to use; None for all that it has (of
            bags, all topics with joint states).
        action: of bags, the topics with the actions; other layouts tell theirs.
        tolerance_s: of bags, the largest distance of a message from its row [s].
        need_actions: whether data without actions is refused; otherwise its actions are (N, 0).

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the layout is unknown, or it has no such camera or observation.
        CorruptFileError: the content is damaged, or not what its layout says.
        S2RobotError: an optional package is missing; the message names it.
    """
    path = Path(source)
    layout = layout_of(path)
    given = check_of_bags(layout, path, action=action, tolerance_s=tolerance_s)
    given |= {} if need_actions else {"need_actions": False}
    module = importlib.import_module(f"{__package__}.{layout}")
    opener = getattr(module, f"open_{layout}")
    return cast("EpisodeDataset", opener(path, cameras, low_dim, **given))


def check_of_bags(layout: str, path: Path, **settings: Any) -> dict[str, Any]:
    """Return those settings of bags that are given.

    Args:
        layout: of the data, one of ``LAYOUTS``.
        path: of the data.
        settings: ``action`` and ``tolerance_s``; None where they are not given.

    Raises:
        ValueError: the data are no bags, or the tolerance is not above 0.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if given and layout != "bags":
        raise ValueError(
            f"{next(iter(given))} is of ROS bags, and {path} is {LAYOUTS[layout].described}, which "
            "tells what its actions are; leave it out"
        )
    if not given.get("tolerance_s", 1.0) > 0:
        raise ValueError(f"tolerance_s is {given['tolerance_s']}; allowed: seconds above 0")
    return given


def layout_of(path: str | Path) -> str:
    """Return the name of the layout of a file or folder, one of ``LAYOUTS``.

    Args:
        path: the file or folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it has none of the layouts; the message says what it holds instead.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder; {_allowed()}")
    if path.is_dir():
        return _layout_of_folder(path)
    if path.suffix.lower() in HDF5 or _begins_as_hdf5(path):
        return "robomimic"
    if is_bag(path):
        return "bags"
    if path.name in TABLES or path.parts[-2:] == ("meta", "info.json"):
        whole = path.absolute().parents[1]
        raise ValueError(f"{path} is a file inside a data set; give its folder, {whole}")
    raise ValueError(f"{path} is no file of demonstrations; {_allowed()}")


def _begins_as_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE


def _layout_of_folder(path: Path) -> str:
    if (path / "meta" / "info.json").is_file():
        return "lerobot"
    if is_bag(path):
        return "bags"
    inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if any(_has_table(entry) for entry in inside):
        return "episode_folder"
    if any(is_bag(entry) for entry in inside):
        return "bags"
    raise ValueError(_unknown_folder(path, inside))


def _has_table(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TABLES)


def _unknown_folder(path: Path, inside: Sequence[Path]) -> str:
    """Return the message for a folder of no layout, with what is probably meant."""
    files = [entry.name for entry in inside if entry.suffix.lower() in HDF5]
    if files:
        return f"{path} is a folder; give one file, such as {path / files[0]} ({len(files)} in it)"
    if _has_table(path):
        return f"{path} is one episode; give the folder that holds the episodes, {path.parent}"
    nested = next((entry for entry in inside if (entry / "meta" / "info.json").is_file()), None)
    if nested is not None:
        return f"{path} is no LeRobot folder, but {nested} is; give that one"
    if (path / "data").is_dir() and (path / "meta").is_dir():
        return (
            f"{path} looks like a LeRobot folder, but has no meta/info.json; copy the folder again "
            "from where it was made, or download it again"
        )
    names = ", ".join(entry.name for entry in inside[:5]) or "nothing"
    more = ", ..." if len(inside) > 5 else ""
    return f"{path} has no known layout (it holds {names}{more}); {_allowed()}"


def _allowed() -> str:
    return "allowed: " + "; ".join(layout.described for layout in LAYOUTS.values())
