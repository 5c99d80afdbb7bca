"""Support of the tests of the ROS 2 node on rclpy: processes, subscriptions, services."""

# pyright: reportMissingImports=false

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.ros1_rig import Process, wait_for

CAMERA_SCRIPT = Path(__file__).with_name("ros2_camera.py")
IMAGE = "/camera/image_raw"
NODE = "s2robot_encoder"
SIMULATOR = "s2robot_simulator"
MODULE = ("-m", "s2robot.plugins.ros.ros2")
WAIT_S = 300.0
"""Most that a test waits for one thing [s]; the tests may run beside other work."""
DOMAINS = 101
"""Numbers of domains whose ports are free on every system are 0 to this."""


def environment(home: Path) -> dict[str, str]:
    """Return variables of ROS 2: this machine only, in a domain of this process's own."""
    return {
        "ROS_DOMAIN_ID": str(1 + os.getpid() % DOMAINS),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_PYTHON_CHECK_FIELDS": "1",
        "ROS_LOG_DIR": str(home / "log"),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def eventually(what: str, condition: Callable[[], Any]) -> Any:
    """Return the value of ``condition`` once it is true."""
    return wait_for(what, condition, WAIT_S)


def rig_of_a_module(folder: Path) -> Iterator[Rig2]:
    """Yield this process as a node, in a domain of its own; for fixtures.

    Args:
        folder: gets the output of the processes.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        found = Rig2(folder)
        yield found
        found.close()


class Rig2:
    """This process as a node of ROS 2, and the other processes of one test.

    Args:
        folder: gets the output of the processes.
    """

    def __init__(self, folder: Path) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        self.folder = folder
        self._processes: list[Process] = []
        self._subscriptions: list[Received2] = []
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("tests")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="rclpy", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        """Run callbacks until the tests are over.

        A test ends subscriptions and publishers in its own thread, and rclpy may raise where this
        thread is just about to use them.
        """
        import rclpy
        from rclpy.executors import ExternalShutdownException

        while rclpy.ok():
            try:
                self.executor.spin_once(timeout_sec=1.0)
            except ExternalShutdownException:
                return
            except Exception as error:
                print(f"the tests' node: {type(error).__name__}: {error}")

    def start(self, name: str, *words: str) -> Process:
        """Start a program with this Python."""
        gc.collect()  # nodes of this process that have ended would answer in place of the program's
        log = self.folder / f"{name}-{len(list(self.folder.glob('*.log')))}.log"
        # A process that does not end tells where it waits; see `Process.kill`.
        process = Process([sys.executable, "-X", "faulthandler", *words], log, os.environ)
        self._processes.append(process)
        return process

    def encoder(
        self, *parameters: str, image: str = IMAGE, program: Sequence[str] = MODULE
    ) -> Process:
        """Start the node on a camera's topic.

        Args:
            parameters: written NAME:=VALUE.
            image: topic of the camera.
            program: arguments of Python that run the node.
        """
        words = [word for each in parameters for word in ("-p", each)]
        return self.start("encoder", *program, "--ros-args", "-r", f"image:={image}", *words)

    def camera(self, frames: str, *words: str) -> Process:
        """Start a camera that publishes the frames of a file on ``IMAGE``."""
        return self.start("camera", str(CAMERA_SCRIPT), frames, IMAGE, *words)

    def simulator(self, *parameters: str) -> Process:
        """Start the simulated robot; parameters are written NAME:=VALUE."""
        words = [word for each in parameters for word in ("-p", each)]
        module = "s2robot.plugins.ros.ros2_simulator"
        return self.start("simulator", "-m", module, *(["--ros-args", *words] if words else []))

    def subscribe(self, topic: str, kind: Any, **qos: Any) -> Received2:
        """Subscribe until the test ends."""
        self._subscriptions.append(Received2(self.node, topic, kind, **qos))
        return self._subscriptions[-1]

    def call(self, kind: Any, service: str, node: str = NODE, **fields: Any) -> Any:
        """Return a node's answer to a request; ``service`` is the end of the service's name."""
        name = f"/{node}/{service}"
        client = self.node.create_client(kind, name)
        eventually(f"{name} is there", client.service_is_ready)
        future = client.call_async(kind.Request(**fields))
        eventually(f"{name} answers", future.done)
        self.node.destroy_client(client)
        return future.result()

    def _services(self) -> list[str]:
        """Return the services of nodes under test that tests call.

        They go with their node; its name may stay in this process's graph for good, a node of this
        process goes with Python's garbage (see findings/), and in Kilted one service of it stays.
        """
        gc.collect()
        ours = tuple(f"/{name}/" for name in (NODE, SIMULATOR))
        found = [name for name, _ in self.node.get_service_names_and_types()]
        return [n for n in found if n.startswith(ours) and not n.endswith("/get_type_description")]

    def cameras_subscribers(self) -> int:
        """Return how many subscribers the camera's topic has."""
        return self.node.count_subscribers(IMAGE)

    def clear(self, *kept: Process) -> None:
        """End all processes but some, and print their output for failed tests."""
        for received in self._subscriptions:
            received.close()
        for process in self._processes:
            print(f"----- {process.log.name}\n{process.text[-3000:]}")
            if process not in kept:
                process.kill(signal.SIGINT)
        self._subscriptions, self._processes = [], list(kept)
        if not kept:
            eventually("the nodes are gone", lambda: not self._services())
        eventually("the camera is gone", lambda: not self.node.count_publishers(IMAGE))

    def close(self) -> None:
        """End this process's node and what is still running."""
        import rclpy

        for process in self._processes:
            process.kill()
        rclpy.try_shutdown()
        self._thread.join(WAIT_S)


class Received2:
    """Messages of a topic in the order of their arrival."""

    def __init__(self, node: Any, topic: str, kind: Any, qos: Any = 100) -> None:
        self.messages: list[Any] = []
        self._node, self._topic = node, topic
        self._subscription = node.create_subscription(kind, topic, self.messages.append, qos)

    def after(self, count: int) -> list[Any]:
        """Return all messages once ``count`` more have arrived."""
        total = len(self.messages) + count
        eventually(f"{count} messages on {self._topic}", lambda: len(self.messages) >= total)
        return list(self.messages)

    def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = None
