"""Why no message of a topic arrives."""

from __future__ import annotations

import pytest

from s2robot.plugins.ros.core import Level, TopicPublisher, why_silent
from s2robot.plugins.ros.core.counters import Counters
from s2robot.plugins.ros.core.diagnostics import SILENT_S, channel_status

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
FIT = TopicPublisher("camera", IMAGE)
BEST_EFFORT = TopicPublisher("driver", IMAGE, best_effort=True)


@pytest.mark.parametrize(
    ("publishers", "reliable", "words"),
    [
        ([], False, ["/image has no publisher", "give the node the right topic"]),
        ([TopicPublisher("cam", COMPRESSED)], False,
         [f"/image has {COMPRESSED} of cam", f"takes {IMAGE}", "transport to compressed"]),
        ([TopicPublisher("arm", "sensor_msgs/msg/JointState")], False, ["a topic of that type"]),
        ([BEST_EFFORT], True, ["best effort by driver", "reliability to best_effort"]),
    ],
)  # fmt: skip
def test_the_cause_comes_with_a_way_to_fix_it(
    publishers: list[TopicPublisher], reliable: bool, words: list[str]
) -> None:
    text = why_silent("/image", IMAGE, publishers, reliable)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("publishers", "reliable"),
    [([FIT], True), ([BEST_EFFORT], False), ([BEST_EFFORT, FIT], True),
     ([TopicPublisher("cam", COMPRESSED), FIT], False)],
)  # fmt: skip
def test_nothing_is_said_where_a_publisher_fits(
    publishers: list[TopicPublisher], reliable: bool
) -> None:
    assert why_silent("/image", IMAGE, publishers, reliable) == ""


def test_the_cause_is_told_only_while_no_frame_arrives() -> None:
    now = 10.0
    counters = Counters()
    status = channel_status("encoder image", counters.snapshot(now), cause="why")
    assert (status.level, status.message) == (Level.WARN, "no frame has arrived yet: why")
    counters.arrived(now)
    status = channel_status("encoder image", counters.snapshot(now), cause="why")
    assert "why" not in status.message
    later = counters.snapshot(now + SILENT_S + 1)
    status = channel_status("encoder image", later, cause="why")
    assert (status.level, status.message) == (Level.ERROR, "no frames for 2.0 s: why")
