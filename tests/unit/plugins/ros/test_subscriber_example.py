"""The example of a subscriber where rclpy is missing, and where nothing comes."""

from __future__ import annotations

import itertools
import runpy
import sys
from types import SimpleNamespace

import pytest
from support.paths import ROOT

PATH = str(ROOT / "examples" / "ros2_subscriber.py")


def test_without_rclpy_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    monkeypatch.setattr(sys, "argv", [PATH])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(PATH, run_name="__main__")
    text = str(ended.value.code)  # a text is printed, and the exit status is 1
    assert text.startswith(f"{sys.executable} cannot import rclpy (")
    assert "pip install 'path/to/s2robot[ros2]'" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "publishers, text", [(0, "no publisher of /mine yet: "), (1, "no message of /mine yet: ")]
)
def test_silence_is_explained_once(
    publishers: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seconds = itertools.count()
    waited: list[float] = []

    def spin_once(_: object, timeout_sec: float) -> None:
        waited.append(timeout_sec)
        if len(waited) > 8:
            raise KeyboardInterrupt

    node = SimpleNamespace(
        create_subscription=lambda *_: None, count_publishers=lambda _: publishers
    )
    rclpy = SimpleNamespace(
        init=lambda: None,
        create_node=lambda _: node,
        spin_once=spin_once,
        try_shutdown=lambda: None,
    )
    executors = SimpleNamespace(ExternalShutdownException=RuntimeError)
    doubles = {"rclpy": rclpy, "rclpy.executors": executors}
    doubles |= {"std_msgs": SimpleNamespace(), "s2robot_msgs": None}
    doubles["std_msgs.msg"] = SimpleNamespace(Float32MultiArray=list)
    for name, double in doubles.items():
        monkeypatch.setitem(sys.modules, name, double)
    example = runpy.run_path(PATH)
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))
    example["receive"]("/mine", 1)
    monkeypatch.undo()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(text)
    assert len(waited) == 9
