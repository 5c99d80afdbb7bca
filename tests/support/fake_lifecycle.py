"""``rclpy.lifecycle`` of ``fake_rclpy``, with the state machine of ``rcl_lifecycle``."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from support.fake_rclpy import Node
from support.fake_ros_world import LifecyclePublisher, RCLError
from support.fake_rosidl import service_class


class TransitionCallbackReturn(Enum):
    SUCCESS = 97
    FAILURE = 98
    ERROR = 99


class LifecycleState(NamedTuple):
    label: str
    state_id: int


STATES = {"unconfigured": 1, "inactive": 2, "active": 3, "finalized": 4}
TRANSITIONS = {
    (1, "unconfigured"): ("configure", "inactive", "unconfigured"),
    (2, "inactive"): ("cleanup", "unconfigured", "inactive"),
    (3, "inactive"): ("activate", "active", "inactive"),
    (4, "active"): ("deactivate", "inactive", "active"),
    (5, "unconfigured"): ("shutdown", "finalized", "finalized"),
    (6, "inactive"): ("shutdown", "finalized", "finalized"),
    (7, "active"): ("shutdown", "finalized", "finalized"),
}
"""By number and state: callback, state after success, state after failure."""


class LifecycleNode(Node):
    """Lifecycle node whose callbacks are bound when it is created and whose errors are hidden."""

    def __init__(self, node_name: str, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._label = "unconfigured"
        self._managed_entities: set[LifecyclePublisher] = set()
        names = ("configure", "cleanup", "activate", "deactivate", "shutdown", "error")
        self._callbacks = {name: getattr(self, f"on_{name}") for name in names}
        name = f"{self.get_fully_qualified_name()}/change_state"
        kind = service_class("lifecycle_msgs/srv/ChangeState")
        self.create_service(kind, name, self._on_change_state)

    @property
    def state(self) -> str:
        """State, for tests only."""
        return self._label

    def _on_change_state(self, request: Any, response: Any) -> Any:
        result = self._change(request.transition.id)
        response.success = result is TransitionCallbackReturn.SUCCESS
        return response

    def _change(self, number: int) -> TransitionCallbackReturn:
        if (number, self._label) not in TRANSITIONS:
            raise RCLError(f"Transition is not registered: {number} from {self._label}")
        name, good, bad = TRANSITIONS[number, self._label]
        before = LifecycleState(self._label, STATES[self._label])
        self._label = name
        result = self._run(name, before)
        if result is TransitionCallbackReturn.ERROR:
            self._label = "errorprocessing"
            corrected = self._run("error", before) is TransitionCallbackReturn.SUCCESS
            self._label = "unconfigured" if corrected else "finalized"
        else:
            self._label = good if result is TransitionCallbackReturn.SUCCESS else bad
        return result

    def _run(self, name: str, before: LifecycleState) -> TransitionCallbackReturn:
        try:
            result = self._callbacks[name](before)
        except Exception:  # as rclpy has it
            return TransitionCallbackReturn.ERROR
        assert isinstance(result, TransitionCallbackReturn)
        return result

    def trigger_configure(self) -> TransitionCallbackReturn:
        return self._change(1)

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        return self._change(2)

    def trigger_activate(self) -> TransitionCallbackReturn:
        return self._change(3)

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        return self._change(4)

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        return self._change({"unconfigured": 5, "inactive": 6, "active": 7}.get(self._label, 0))

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    on_cleanup = on_shutdown = on_error = on_configure

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._set_managed(True)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._set_managed(False)

    def _set_managed(self, active: bool) -> TransitionCallbackReturn:
        for entity in self._managed_entities:
            entity.is_activated = active
        return TransitionCallbackReturn.SUCCESS

    def create_lifecycle_publisher(self, *args: Any) -> LifecyclePublisher:
        made = self.create_publisher(*args, publisher_class=LifecyclePublisher)
        self._managed_entities.add(made)
        return made

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        self._managed_entities.discard(publisher)
        return self.destroy_publisher(publisher)


def lifecycle_module() -> dict[str, Any]:
    """Return the names that ``rclpy.lifecycle`` exports."""
    return {
        each.__name__: each for each in (LifecycleNode, LifecycleState, TransitionCallbackReturn)
    }
