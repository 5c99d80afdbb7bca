"""Numbers of messages in bags: joint states, commands and whatever else has a header."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.errors import CorruptFileError

JOINTS = "sensor_msgs/msg/JointState"
DEFAULT_FIELDS = {JOINTS: "position", "s2robot_msgs/msg/ActionStamped": "data"}
"""Field that is read of a type of messages where none is named; of others, all numbers."""
NAMES = {JOINTS: "name", "s2robot_msgs/msg/ActionStamped": "meaning"}
"""Field with the names of the numbers."""
_NOT_READ = ("header", "layout")


@dataclass(frozen=True)
class Selection:
    """Numbers that a user names: a topic, or one field of its messages."""

    key: str
    """As it is shown: TOPIC or TOPIC:FIELD."""
    topic: str
    field: str | None

    @classmethod
    def of(cls, text: str) -> Selection:
        """Return the selection of "TOPIC" or "TOPIC:FIELD"; a leading "/" may be missing.

        Args:
            text: such as "/joint_states:velocity" or "cmd:twist.linear".

        Examples:
            >>> Selection.of("joint_states:velocity")
            Selection(key='/joint_states:velocity', topic='/joint_states', field='velocity')
        """
        topic, _, field = text.partition(":")
        topic = topic if topic.startswith("/") else f"/{topic}"
        return cls(f"{topic}:{field}" if field else topic, topic, field or None)


class Table:
    """Rows of numbers of one selection in one bag, all with the same names.

    Args:
        where: bag and key, for messages.
        selection: which numbers.
    """

    def __init__(self, where: str, selection: Selection) -> None:
        self._where, self._selection = where, selection
        self.names: tuple[str, ...] = ()
        self._rows: list[Sequence[float]] = []

    def add(self, message: Any) -> None:
        """Add the numbers of a message.

        Args:
            message: as rosbags decodes it.

        Raises:
            ValueError: the message has no such field, or no numbers.
            CorruptFileError: its numbers have other names than those of the first message.
        """
        names, values = _numbers(message, self._selection, self._where)
        if not self._rows:
            self.names = names
        elif names != self.names:
            if len(set(names)) < len(names) or set(names) != set(self.names):
                raise CorruptFileError(
                    f"{self._where}: message {len(self._rows)} has {_shown(names)}; the first one "
                    f"has {_shown(self.names)}. All need the same; where several nodes publish "
                    "on one topic, record each on a topic of its own"
                )
            order = {name: place for place, name in enumerate(names)}
            values = [values[order[name]] for name in self.names]
        self._rows.append(values)

    def values(self) -> np.ndarray:
        """Return the numbers (M, d) float64, by log time."""
        return np.array(self._rows, np.float64).reshape(len(self._rows), len(self.names))


def _shown(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > 8 else ""
    return f"{len(names)} numbers ({', '.join(names[:8])}{more})"


def _numbers(
    message: Any, selection: Selection, where: str
) -> tuple[tuple[str, ...], Sequence[float]]:
    kind = str(message.__msgtype__)
    field = selection.field or DEFAULT_FIELDS.get(kind)
    value = message if field is None else _field(message, field, where)
    named = getattr(message, NAMES[kind]) if kind in NAMES else ()
    if isinstance(value, np.ndarray) and len(named) == len(value) > 0:
        return tuple(named), value.tolist()
    if kind == JOINTS and isinstance(value, np.ndarray):
        raise CorruptFileError(
            f"{where}: a JointState names {len(named)} joints and has {len(value)} numbers in "
            f"{field}; name a field that is filled (position, velocity, effort), as in "
            f"{selection.topic}:velocity"
        )
    found = list(_flat("" if field is None else field.rpartition(".")[2], value))
    if not found:
        raise ValueError(f"{where} ({kind}) has no numbers; its fields are {_fields(message)}")
    return tuple(name for name, _ in found), [number for _, number in found]


def _field(message: Any, path: str, where: str) -> Any:
    value = message
    for name in path.split("."):
        if not dataclasses.is_dataclass(value) or not hasattr(value, name):
            raise ValueError(
                f"{where}: {message.__msgtype__} has no field {path!r}; its fields are "
                f"{_fields(message)}"
            )
        value = getattr(value, name)
    return value


def _fields(message: Any) -> str:
    return ", ".join(each.name for each in dataclasses.fields(message) if each.name[0] != "_")


def _flat(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield names and numbers of a value, in the order of the definition; no texts and times."""
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        yield name, float(value)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        for place, each in enumerate(value.ravel().tolist()):
            yield f"{name}_{place}", float(each)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _flat(f"{name}_{place}", each)
    elif dataclasses.is_dataclass(value):
        if "builtin_interfaces" in getattr(value, "__msgtype__", ""):
            return
        for each in dataclasses.fields(value):
            if each.name[0] != "_" and each.name not in _NOT_READ:
                below = f"{name}.{each.name}" if name else each.name
                yield from _flat(below, getattr(value, each.name))
