"""Support of the tests of the ROS 1 nodes: a master, processes, a camera and subscriptions."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from support.paths import ROOT

CAMERA_SCRIPT = Path(__file__).with_name("ros1_camera.py")
IMAGE = "/camera/image_raw"
WAIT_S = 60.0


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def environment(port: int, home: Path) -> dict[str, str]:
    """Return the variables of ROS 1 on the loopback, with this Python first on the PATH."""
    return {
        **os.environ,
        "ROS_MASTER_URI": f"http://127.0.0.1:{port}",
        "ROS_IP": "127.0.0.1",
        "ROS_PACKAGE_PATH": f"{ROOT / 'ros' / 'ros1'}:/usr/share",
        "ROS_HOME": str(home),
        "ROS_LOG_DIR": str(home / "log"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def wait_for(what: str, condition: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    """Return the value of ``condition`` once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return found


class Process:
    """A process with its children and their output."""

    def __init__(self, words: list[str], log: Path, variables: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                words, stdout=out, stderr=out, env=dict(variables), start_new_session=True
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, seconds: float = WAIT_S) -> int:
        return self._process.wait(seconds)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the process and, for SIGKILL, its children."""
        if not self.running:
            return
        if number == signal.SIGKILL:
            os.killpg(self.pid, number)
        else:
            self._process.send_signal(number)
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # Python's faulthandler tells where it waits
            self._process.wait(WAIT_S)
            raise AssertionError(f"{self.log.name} did not end:\n{self.text[-6000:]}") from None


class Rig:
    """Processes of one master, which end together."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.variables = environment(port, folder)
        self._processes: list[Process] = []
        self._subscriptions: list[Received] = []
        self.master = self.start_master()

    def start(self, name: str, *words: str, **variables: str) -> Process:
        log = self.folder / f"{name}-{len(list(self.folder.glob('*.log')))}.log"
        process = Process(list(words), log, {**self.variables, **variables})
        self._processes.append(process)
        return process

    def start_master(self) -> Process:
        self.master = self.start("master", "rosmaster", "--core", "-p", str(self.port))
        wait_for("the master answers", self._answers)
        return self.master

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def launch(self, name: str, *words: str) -> Process:
        return self.start(name, "roslaunch", "s2robot_ros", *words)

    def camera(self, *words: str) -> Process:
        return self.start("camera", sys.executable, str(CAMERA_SCRIPT), *words)

    def clear(self) -> None:
        """End all processes except the master, and print their output for failed tests."""
        for received in self._subscriptions:
            received.close()
        for process in self._processes:
            print(f"----- {process.log.name}\n{process.text[-3000:]}")
            if process is not self.master:
                process.kill(signal.SIGINT)
        self._subscriptions, self._processes = [], [self.master]

    def subscribe(self, topic: str, kind: Any) -> Received:
        """Subscribe until the test ends."""
        self._subscriptions.append(Received(topic, kind))
        return self._subscriptions[-1]

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()


class Received:
    """Messages of a topic in the order of their arrival."""

    def __init__(self, topic: str, kind: Any) -> None:
        import rospy  # pyright: ignore[reportMissingImports]

        self.messages: list[Any] = []
        self._subscriber = rospy.Subscriber(
            topic, kind, self.messages.append, queue_size=100, buff_size=2**24, tcp_nodelay=True
        )

    def after(self, count: int, seconds: float = WAIT_S) -> list[Any]:
        """Return all messages once ``count`` more have arrived."""
        total = len(self.messages) + count
        topic = self._subscriber.resolved_name
        wait_for(f"{count} messages on {topic}", lambda: len(self.messages) >= total, seconds)
        return list(self.messages)

    def connections(self) -> int:
        return self._subscriber.get_num_connections()

    def close(self) -> None:
        self._subscriber.unregister()


def statuses(message: Any) -> dict[str, dict[str, str]]:
    """Return the values of each status of a DiagnosticArray, including level and message."""
    return {
        status.name.split(": ", 1)[1]: {
            "level": str(ord(status.level) if isinstance(status.level, bytes) else status.level),
            "message": status.message,
            "hardware": status.hardware_id,
            **{pair.key: pair.value for pair in status.values},
        }
        for status in message.status
    }


def rendered_frames(
    actions: int, per_action: int = 1, height: int = 480, width: int = 640
) -> np.ndarray:
    """Frames (actions * per_action, height, width, 3) uint8 of an expert that picks a cube.

    Actions are held for 0.2 s, so six frames each are those of a camera of 30 Hz.
    """
    from s2robot.envs.expert import ScriptedExpert
    from s2robot.envs.pick_cube import PickCubeEnv

    env = PickCubeEnv("easy")
    expert = ScriptedExpert(env.level)
    env.reset(seed=7)
    frames = []
    for _ in range(actions):
        env.begin(expert.action(env.observe()))
        for _ in range(per_action):
            frames.append(env.render_frame("front", height, width))
            env.advance(round(0.2 / per_action / env.model.opt.timestep))
    return np.stack(frames)
