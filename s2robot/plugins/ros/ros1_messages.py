"""Message classes of ``s2robot_msgs`` for ROS 1, built by catkin or from their definitions.

rospy overwrites ``header.seq`` of the messages that it sends, in the header object, which belongs
to the camera's message. The classes of this module prevent that: headers are sent unchanged.
"""

from __future__ import annotations

import functools
import importlib
import io
import struct
import sys
from array import array
from typing import Any

import genpy.dynamic  # pyright: ignore[reportMissingImports]
from std_msgs.msg import Header  # pyright: ignore[reportMissingImports]

from s2robot.data.ros_messages.definitions import MESSAGES, PACKAGE
from s2robot.errors import MismatchError, unknown

_COUNT = struct.Struct("<I")
_SEPARATOR = "=" * 80


@functools.cache
def message_class(name: str) -> type[Any]:
    """Return the class of a message of ``s2robot_msgs`` for rospy's publishers and subscribers.

    Args:
        name: ``EmbeddingStamped`` or ``ActionStamped``.

    Raises:
        ValueError: there is no such message.
        MismatchError: catkin built the package from other definitions.
    """
    if name not in MESSAGES:
        raise unknown("message", name, MESSAGES)
    made = _made(name)
    built = _built(name)
    if built and built._md5sum != made._md5sum:
        raise MismatchError(
            f"{PACKAGE}/{name} was built from another version of its definition (md5 "
            f"{built._md5sum}, this s2robot has {made._md5sum}); build ros/ros1/{PACKAGE} of the "
            "installed s2robot with catkin_make, then source devel/setup.bash"
        )
    base = built or made
    parts = {"_has_header": False, "__slots__": base.__slots__, "__module__": base.__module__}
    mixins = (_FloatsLast,) if MESSAGES[name].splitlines()[-1].startswith("float32[]") else ()
    return type(name, (*mixins, base), parts)


class _FloatsLast:
    """Mixin that writes ``data``, the last field, in one piece; genpy packs number by number."""

    __slots__ = ()

    def serialize(self, buff: Any) -> None:
        data: Any = self.data  # pyright: ignore[reportAttributeAccessIssue]
        if not isinstance(data, array) or data.typecode != "f" or sys.byteorder != "little":
            super().serialize(buff)  # pyright: ignore[reportAttributeAccessIssue]
            return
        self.data: Any = ()
        try:
            super().serialize(buff)  # pyright: ignore[reportAttributeAccessIssue]
        finally:
            self.data = data
        buff.seek(-_COUNT.size, io.SEEK_CUR)  # over the 0 of the empty list
        buff.write(_COUNT.pack(len(data)))
        buff.write(data.tobytes())


def _built(name: str) -> type[Any] | None:
    try:
        module = importlib.import_module(f"{PACKAGE}.msg")
    except ImportError:
        return None
    return getattr(module, name, None)


def _made(name: str) -> type[Any]:
    """Return the class from its text, which has the same md5 as catkin's build."""
    text = MESSAGES[name] + f"{_SEPARATOR}\nMSG: std_msgs/Header\n{Header._full_text}"
    return genpy.dynamic.generate_dynamic(f"{PACKAGE}/{name}", text)[f"{PACKAGE}/{name}"]
