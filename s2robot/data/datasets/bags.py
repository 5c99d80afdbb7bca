"""ROS bags as recorded data, one bag an episode; needs the extra `ros`, and no ROS.

Topics are chosen by the user and aligned by the stamps of their headers; see ``bag_alignment``.
``dataset.json`` beside the bags may hold a task and masks, as in a folder of episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.bag_paths import BAGS, is_bag
from s2robot.data.datasets.bag_alignment import Stream, align, rows_of
from s2robot.data.datasets.bag_numbers import JOINTS, Selection, Table
from s2robot.data.datasets.contract import EpisodeDataset, by_number, checked_rows, choose
from s2robot.data.datasets.episode_folder import DESCRIPTION, Description
from s2robot.data.ros_messages.images import ImageError, frame_of
from s2robot.data.ros_messages.stamps import NS, StampError, message_stamp_ns
from s2robot.data.rosbag.messages import IMAGES
from s2robot.data.rosbag.reading import decoded, messages_of, open_bag, topics_of
from s2robot.errors import CorruptFileError
from s2robot.utils.io import digest_of, paths_below, sha256_file
from s2robot.utils.progress import progress_bar
from s2robot.utils.records import read_record

_COMPRESSED = "/compressed"
_REMEDY = "record that topic, leave it out, or leave the bag out"


def open_bags(
    path: Path,
    cameras: Sequence[str] | None,
    low_dim: Sequence[str] | None,
    action: Sequence[str] | None = None,
    tolerance_s: float | None = None,
    need_actions: bool = True,
) -> EpisodeDataset:
    """Open a folder of bags, or one bag; see ``opening.open_dataset``.

    Args:
        path: the folder, or a bag.
        cameras: topics with images; None for all (without ``TOPIC/compressed`` beside ``TOPIC``).
        low_dim: topics with numbers, TOPIC or TOPIC:FIELD; None for all with joint states.
        action: topics with actions, TOPIC or TOPIC:FIELD; their numbers lie side by side.
        tolerance_s: largest distance of a message from its row [s]; None for 1.5 periods.
        need_actions: whether bags without a named action are refused.
    """
    acting = () if action is None and not need_actions else action
    return Bags(path, cameras, low_dim, acting, tolerance_s)


class Bags:
    """Bags of one data set; see ``EpisodeDataset`` and ``open_bags``.

    ``action`` is () where there are no actions.

    Raises:
        ValueError: no action is named, or the first bag has no such topic.
        CorruptFileError: another bag lacks a topic, or messages cannot be aligned.
    """

    def __init__(
        self,
        path: Path,
        cameras: Sequence[str] | None,
        low_dim: Sequence[str] | None,
        action: Sequence[str] | None,
        tolerance_s: float | None,
    ) -> None:
        self.source = str(path)
        self._bags = bags_in(path)
        there = path / DESCRIPTION
        told = read_record(Description, there, "correct it") if there.is_file() else Description()
        self.task = told.task
        with open_bag(self._bags[0]) as reader:
            topics = {name: str(info.msgtype) for name, info in reader.topics.items()}
            images = topics_of(reader, IMAGES)
        self._cameras = _chosen_cameras(cameras, images, topics, self.source)
        self._named = cameras is not None
        self._action = _chosen_actions(action, topics, self.source)
        self._low_dim = _chosen_low_dim(low_dim, topics, self._action)
        _check_there(self._bags[0], [*self._action, *self._low_dim], topics)
        self.cameras: Mapping[str, tuple[int, int]] = {}
        self._read(tolerance_s)
        self.rate_hz: float | None = told.rate_hz or NS / self._rows.period_ns
        if told.action_names:
            self._rename(told.action_names)
        self.masks: Mapping[str, np.ndarray] = {
            name: self._numbers_of(name, wanted) for name, wanted in told.masks.items()
        }
        self.digest = self._digest(path)

    def _read(self, tolerance_s: float | None) -> None:
        """Read stamps of all topics and numbers of all tables, and align them."""
        streams, tables = [], []
        with progress_bar("reading bags", len(self._bags)) as bar:
            for bag in self._bags:
                found = self._read_bag(bag)
                streams.append(found[0])
                tables.append(found[1])
                bar.advance()
        self._rows = rows_of(streams, tolerance_s)
        acting = [selection.topic for selection in self._action]
        aligned = [
            align(str(bag), own, acting, self._rows)
            for bag, own in zip(self._bags, streams, strict=True)
        ]
        self._stamps = [stamps for stamps, _ in aligned]
        self._places = [places for _, places in aligned]
        self.episode_ends: np.ndarray = np.cumsum([len(s) for s in self._stamps], dtype=np.int64)
        joined = {each.key: self._joined(each, tables) for each in (*self._action, *self._low_dim)}
        names = {each: tables[0][each.key].names for each in (*self._action, *self._low_dim)}
        parts = [np.zeros((int(self.episode_ends[-1]), 0), np.float32)]
        self.actions = np.concatenate(parts + [joined[each.key] for each in self._action], axis=1)
        self.action_names = tuple(name for own in _unique(self._action, names) for name in own)
        self._values = {each.key: joined[each.key] for each in self._low_dim}
        self.low_dim_names: Mapping[str, tuple[str, ...]] = dict(
            zip(self._values, _unique(self._low_dim, names), strict=True)
        )

    def _read_bag(self, bag: Path) -> tuple[dict[str, Stream], dict[str, Table]]:
        selections = (*self._action, *self._low_dim)
        topics = list(dict.fromkeys([*self._cameras, *(each.topic for each in selections)]))
        stamps: dict[str, list[int]] = {topic: [] for topic in topics}
        tables = {each.key: Table(f"{bag}, {each.key}", each) for each in selections}
        of_topic = {t: [each for each in selections if each.topic == t] for t in topics}
        with open_bag(bag) as reader:
            for connection, _, raw in messages_of(reader, topics):
                topic = connection.topic
                message = decoded(reader, connection, raw)
                stamps[topic].append(_stamp(bag, topic, message))
                for each in of_topic[topic]:
                    tables[each.key].add(message)
                if topic in self._cameras and topic not in self.cameras:
                    self.cameras = {**self.cameras, topic: _frame(bag, topic, message).shape[:2]}
            there = ", ".join(sorted(reader.topics))
            self._check_cameras(bag, topics_of(reader, IMAGES))
        for topic, own in stamps.items():
            if not own:
                raise CorruptFileError(
                    f"{bag} has no messages of {topic}, which was chosen or is in the first bag; "
                    f"its topics are {there}; {_REMEDY}"
                )
        self.cameras = {topic: self.cameras[topic] for topic in self._cameras}
        return {t: Stream.of(f"{bag}, {t}", own) for t, own in stamps.items()}, tables

    def _check_cameras(self, bag: Path, images: Sequence[str]) -> None:
        """Refuse a camera that the first bag lacks, where all are to be used."""
        for topic in () if self._named else images:
            alike = {topic, topic.removesuffix(_COMPRESSED), f"{topic}{_COMPRESSED}"}
            if not alike & {*self._cameras}:
                raise CorruptFileError(
                    f"{bag} has the camera {topic}, which {self._bags[0]} lacks; name the cameras "
                    "to use by cameras=, or leave the bags without it out"
                )

    def _joined(self, each: Selection, tables: Sequence[Mapping[str, Table]]) -> np.ndarray:
        """Return the rows of a selection, (N, d) float32."""
        first, parts = tables[0][each.key].names, []
        for bag, own, places in zip(self._bags, tables, self._places, strict=True):
            table = own[each.key]
            repeated = len(set(first)) < len(first)
            if table.names != first and (repeated or set(table.names) != set(first)):
                raise CorruptFileError(
                    f"{bag}, {each.key}: its numbers are {', '.join(table.names)}; in the first "
                    f"bag they are {', '.join(first)}; all bags need the same"
                )
            values = table.values()[places[each.topic]]
            if table.names != first:
                values = values[:, [table.names.index(name) for name in first]]
            parts.append(checked_rows(f"{bag}, {each.key}", values))
        return np.concatenate(parts)

    def _rename(self, names: Sequence[str]) -> None:
        if len(names) != len(self.action_names):
            raise CorruptFileError(
                f"{self.source}: {DESCRIPTION} names {len(names)} entries of an action, the topics "
                f"have {len(self.action_names)}: {', '.join(self.action_names)}"
            )
        self.action_names = tuple(names)

    def _numbers_of(self, mask: str, wanted: Sequence[str]) -> np.ndarray:
        numbers = {bag.name: number for number, bag in enumerate(self._bags)}
        numbers.update({bag.stem: number for number, bag in enumerate(self._bags)})
        for name in wanted:
            if name not in numbers:
                raise CorruptFileError(
                    f"{self.source}: the mask {mask} in {DESCRIPTION} names {name!r}, which is no "
                    f"bag; there are {', '.join(bag.name for bag in self._bags[:5])}"
                )
        return np.array([numbers[name] for name in wanted], np.int64)

    def _digest(self, path: Path) -> str:
        """Return the digest of all files, and of the rows that the chosen topics make of them."""
        files = [file for bag in self._bags for file in _files_of(bag)]
        files += [path / DESCRIPTION] if (path / DESCRIPTION).is_file() else []
        base = path if path.is_dir() else path.parent
        return digest_of(
            [
                [[file.relative_to(base).as_posix(), sha256_file(file)] for file in files],
                [each.key for each in self._action],
                self._rows.jitter_ns,
                [stamps.tolist() for stamps in self._stamps],
            ]
        )

    @property
    def episode_names(self) -> tuple[str, ...]:
        """Names of the bags, in order."""
        return tuple(bag.name for bag in self._bags)

    def low_dim(self, key: str) -> np.ndarray:
        """Return a low-dimensional observation ``(N, d)`` float32."""
        (key,) = choose("observation", [key], self._values, self.source)
        return self._values[key]

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        """Yield the frames ``(H, W, 3)`` uint8 RGB of a bag, one for each row."""
        (camera,) = choose("camera", [camera], self.cameras, self.source)
        bag, wanted = self._bags[episode], self._places[episode][camera].tolist()
        size = self.cameras[camera]
        with open_bag(bag) as reader:
            messages = ((connection, raw) for connection, _, raw in messages_of(reader, [camera]))
            for message in _in_order(wanted, messages):
                frame = _frame(bag, camera, decoded(reader, *message))
                if frame.shape[:2] != size:
                    raise CorruptFileError(
                        f"{bag}, {camera}: a frame has {frame.shape[0]} x {frame.shape[1]} px; the "
                        f"first one of the data set has {size[0]} x {size[1]}; all need one size"
                    )
                yield np.ascontiguousarray(frame)

    def close(self) -> None:
        """Close nothing: bags are open only while they are read."""


def bags_in(path: Path) -> list[Path]:
    """Return the bags of a folder in the order of the numbers in their names; or the one bag.

    Args:
        path: the folder, or a bag.

    Raises:
        CorruptFileError: the folder has a bag whose recording was not ended.
    """
    if is_bag(path):
        return [path]
    shown = [each for each in path.iterdir() if not each.name.startswith(".")]
    for each in sorted(shown, key=lambda each: by_number(each.name)):
        if not is_bag(each) and _is_unfinished(each):
            raise CorruptFileError(
                f"{each} is a bag whose recording was not ended, so it would be left out; repair "
                "it with `rosbag reindex` and take .active off its name (ROS 1) or with `ros2 bag "
                f"reindex` (ROS 2), or move it out of {path}"
            )
    found = [each for each in shown if is_bag(each)]
    return sorted(found, key=lambda each: by_number(each.name))


def _is_unfinished(path: Path) -> bool:
    """Return whether it is what a recorder that was killed leaves."""
    inside = path.iterdir() if path.is_dir() else ()
    return path.suffix == ".active" or any(file.suffix.lower() in BAGS for file in inside)


def _chosen_cameras(
    wanted: Sequence[str] | None, images: Sequence[str], topics: Mapping[str, str], source: str
) -> list[str]:
    if wanted is not None:
        full = [each if each.startswith("/") else f"/{each}" for each in wanted]
        for each in full:
            if each in topics and each not in images:
                raise ValueError(
                    f"{source}: {each} is a topic of {topics[each]}; a camera is one of "
                    f"{' or '.join(sorted(IMAGES))}"
                )
        return list(choose("camera", full, images, source))
    return [t for t in images if t.removesuffix(_COMPRESSED) == t or t[:-11] not in images]


def _chosen_actions(
    wanted: Sequence[str] | None, topics: Mapping[str, str], source: str
) -> list[Selection]:
    if wanted is None:
        listed = ", ".join(f"{t} ({k})" for t, k in sorted(topics.items()) if k not in IMAGES)
        raise ValueError(
            f"{source} holds bags, which do not tell what the actions are; name their topics: "
            "'action=[/ARM,/GRIPPER:position]' of `s2robot train` and `features`, --action of "
            f"`s2robot export-dataset`. Topics of the first bag without images: {listed or 'none'}"
        )
    return _selections("action", wanted)


def _chosen_low_dim(
    wanted: Sequence[str] | None, topics: Mapping[str, str], actions: Sequence[Selection]
) -> list[Selection]:
    if wanted is not None:
        return _selections("low_dim", wanted)
    taken = {each.topic for each in actions}
    return [Selection.of(t) for t, k in sorted(topics.items()) if k == JOINTS and t not in taken]


def _selections(setting: str, wanted: Sequence[str]) -> list[Selection]:
    found = [Selection.of(text) for text in wanted]
    if len({each.key for each in found}) < len(found):
        raise ValueError(f"{setting} {list(wanted)} names a topic twice; name each once")
    return found


def _check_there(bag: Path, wanted: Sequence[Selection], topics: Mapping[str, str]) -> None:
    for each in wanted:
        if each.topic not in topics or topics[each.topic] in IMAGES:
            listed = ", ".join(f"{t} ({k})" for t, k in sorted(topics.items()) if k not in IMAGES)
            raise ValueError(
                f"{bag} has no topic {each.topic} with numbers; its topics without images are "
                f"{listed or 'none'}"
            )


def _unique(
    chosen: Sequence[Selection], names: Mapping[Selection, tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """Return the names of the numbers of each selection; with its key where a name is twice."""
    plain = [name for each in chosen for name in names[each]]
    if len(set(plain)) == len(plain):
        return [names[each] for each in chosen]
    return [tuple(f"{each.key}.{name}" for name in names[each]) for each in chosen]


def _stamp(bag: Path, topic: str, message: Any) -> int:
    try:
        return message_stamp_ns(message)
    except StampError as error:
        raise ValueError(
            f"{bag}, {topic}: {message.__msgtype__} has no header with a stamp ({error}), and "
            "topics are aligned by their stamps; record a stamped type, such as "
            "geometry_msgs/TwistStamped in place of Twist, or choose another topic"
        ) from None


def _frame(bag: Path, topic: str, message: Any) -> np.ndarray:
    try:
        return frame_of(message)
    except ImageError as error:
        raise CorruptFileError(
            f"{bag}, {topic}: {error}; name the cameras that are to be used"
        ) from None


def _in_order(wanted: Sequence[int], messages: Iterator[Any]) -> Iterator[Any]:
    """Yield the wanted messages by their numbers, which may repeat and be out of order."""
    last = {number: row for row, number in enumerate(wanted)}
    kept: dict[int, Any] = {}
    row = 0
    for number, message in enumerate(messages):
        if number in last:
            kept[number] = message
        while row < len(wanted) and wanted[row] in kept:
            yield kept[wanted[row]]
            if last[wanted[row]] == row:
                del kept[wanted[row]]
            row += 1
        if row == len(wanted):
            return


def _files_of(bag: Path) -> list[Path]:
    return [each for each in paths_below(bag) if each.is_file()] if bag.is_dir() else [bag]
