"""Message classes as rosidl generates them for Python: they refuse values of another type.

Definitions are rosbags' for the ROS 2 of ``RELEASE``, ours for ``s2robot_msgs``; what is checked
follows ``rosidl_generator_py/resource/_msg.py.em`` of Humble. Later releases check only where
``ROS_PYTHON_CHECK_FIELDS=1``, and fail in C otherwise.
"""

from __future__ import annotations

import math
import types
from array import array
from collections.abc import Callable, Iterable, Sequence, Set
from functools import cache
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from s2robot.data.ros_messages.definitions import MESSAGES, PACKAGE

RELEASE = Stores.ROS2_HUMBLE
TYPECODES = {
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
}
SERVICES = {
    "std_srvs/srv/SetBool": ("bool data", "bool success\nstring message"),
    "lifecycle_msgs/srv/ChangeState": ("lifecycle_msgs/Transition transition", "bool success"),
}
NAMES = (
    "builtin_interfaces/msg/Time",
    "std_msgs/msg/Header",
    "std_msgs/msg/String",
    "std_msgs/msg/Float32MultiArray",
    "std_msgs/msg/MultiArrayLayout",
    "std_msgs/msg/MultiArrayDimension",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/JointState",
    "diagnostic_msgs/msg/DiagnosticArray",
    "diagnostic_msgs/msg/DiagnosticStatus",
    "diagnostic_msgs/msg/KeyValue",
    "rcl_interfaces/msg/ParameterDescriptor",
    "rcl_interfaces/msg/SetParametersResult",
    "lifecycle_msgs/msg/Transition",
    *(f"{PACKAGE}/msg/{name}" for name in MESSAGES),
)
"""Messages that the node uses; others cannot be imported."""


@cache
def typestore() -> Typestore:
    """Return the definitions of all messages."""
    store = get_typestore(RELEASE)
    for name, text in MESSAGES.items():
        store.register(get_types_from_msg(text, f"{PACKAGE}/msg/{name}"))
    for name, parts in SERVICES.items():
        for part, text in zip(("Request", "Response"), parts, strict=True):
            store.register(get_types_from_msg(text, _part(name, part)))
    return store


class Message:
    """Base class of messages, which refuses unknown fields and values of another type."""

    _name: str
    _fields: dict[str, Any]

    def __init__(self, **fields: Any) -> None:
        assert all(key in self._fields for key in fields), f"invalid arguments {list(fields)}"
        for name, node in self._fields.items():
            setattr(self, name, fields[name] if name in fields else default(node))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._fields:
            raise AttributeError(f"{self._name} has no field {name!r}")  # there are __slots__
        object.__setattr__(self, name, checked(name, self._fields[name], value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"{self._name}({vars(self)})"


def default(node: Any) -> Any:
    """Return the value of a field that was never set."""
    kind, detail = node
    if kind is Nodetype.SEQUENCE:
        base = detail[0][1][0]
        return array(TYPECODES[base]) if base in TYPECODES else []
    if kind is Nodetype.NAME:
        return message_class(detail)()
    if detail[0] == "byte":
        return b"\0"
    return {"string": "", "bool": False}.get(detail[0], 0.0 if "float" in detail[0] else 0)


def checked(name: str, node: Any, value: Any) -> Any:
    """Return the value that a setter stores, or raise AssertionError."""
    kind, detail = node
    if kind is not Nodetype.SEQUENCE:
        assert fits(node, value), f"the {name!r} field must be {detail}, not {value!r}"
        return value
    item, most = detail
    code = TYPECODES.get(item[1][0]) if item[0] is Nodetype.BASE else None
    if code and isinstance(value, array):
        assert value.typecode == code, f"the {name!r} array.array() must have type code {code!r}"
        return value
    assert isinstance(value, (Sequence, Set)), f"the {name!r} field must be a set or sequence"
    assert not isinstance(value, str), f"the {name!r} field must not be text"
    assert not most or len(value) <= most
    assert all(fits(item, each) for each in value), f"the {name!r} field must hold {item[1]}"
    return array(code, value) if code else value


def fits(node: Any, value: Any) -> bool:
    """Return whether a single value has a type and is in its range."""
    kind, detail = node
    if kind is Nodetype.NAME:
        return isinstance(value, message_class(detail))
    base = detail[0]
    if base == "byte":
        return isinstance(value, (bytes, bytearray)) and len(value) == 1
    if base in ("string", "bool"):
        return isinstance(value, str if base == "string" else bool)
    if "float" in base:
        most = 3.402823466e38 if base == "float32" else 1.7976931348623157e308
        return isinstance(value, float) and (not abs(value) > most or math.isinf(value))
    bits, signed = int(base.lstrip("uint")), not base.startswith("u")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    return isinstance(value, int) and low <= value < high


def _part(service: str, part: str) -> str:
    return f"{service.replace('/srv/', '/msg/')}_{part}"


@cache
def message_class(name: str) -> type[Any]:
    """Return the class of a message by its name, such as "std_msgs/msg/Header"."""
    constants, fields = typestore().fielddefs[name]
    body = {constant: value for constant, _, value in constants}
    body |= {"_name": name, "_fields": dict(fields)}
    return type(name.rsplit("/", 1)[-1], (Message,), body)


@cache
def service_class(name: str) -> type[Any]:
    """Return a service's class, which holds the classes of its request and response."""
    parts = {part: message_class(_part(name, part)) for part in ("Request", "Response")}
    return type(name.rsplit("/", 1)[-1], (), parts)


def modules(without: Iterable[str] = ()) -> dict[str, types.ModuleType]:
    """Return all packages of messages as modules, except those of ``without``."""
    found: dict[str, types.ModuleType] = {}
    makers: list[tuple[Iterable[str], Callable[[str], type]]] = [
        (NAMES, message_class),
        (SERVICES, service_class),
    ]
    for names, make in makers:
        for name in names:
            package, kind, leaf = name.split("/")
            if package in without:
                continue
            found.setdefault(package, types.ModuleType(package))
            inner = found.setdefault(f"{package}.{kind}", types.ModuleType(f"{package}.{kind}"))
            setattr(found[package], kind, inner)
            setattr(inner, leaf, make(name))
    return found


def to_store(message: Any) -> Any:
    """Return the message as rosbags represents it, for serialization."""
    store = typestore()
    values = {}
    for name, (kind, detail) in message._fields.items():
        value = getattr(message, name)
        if kind is Nodetype.NAME:
            value = to_store(value)
        elif kind is Nodetype.SEQUENCE and isinstance(value, array):
            value = np.frombuffer(value, value.typecode)
        elif kind is Nodetype.SEQUENCE and detail[0][0] is Nodetype.NAME:
            value = [to_store(each) for each in value]
        elif isinstance(value, bytes):
            value = value[0]
        values[name] = value
    return store.types[message._name](**values)


def from_store(found: Any, name: str) -> Any:
    """Return a message of the class ``name`` from a message of rosbags."""
    made = message_class(name)()
    for field, (kind, detail) in made._fields.items():
        value = getattr(found, field)
        if kind is Nodetype.NAME:
            value = from_store(value, detail)
        elif kind is Nodetype.SEQUENCE and detail[0][0] is Nodetype.NAME:
            value = [from_store(each, detail[0][1]) for each in value]
        elif kind is Nodetype.SEQUENCE and detail[0][1][0] in TYPECODES:
            value = array(TYPECODES[detail[0][1][0]], value.tobytes())
        elif detail[0] == "byte":
            value = bytes([value])
        setattr(made, field, value)
    return made
