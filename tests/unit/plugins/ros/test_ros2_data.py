"""The ROS 2 node: input and output."""

from __future__ import annotations

import copy
import io
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.fake_rclpy import installed
from support.fake_ros_world import NS, START_NS, QoSProfile, ReliabilityPolicy, World
from support.fake_rosidl import message_class
from support.ros2_bench import (
    ARRAY,
    DIAGNOSTICS,
    image,
    put_header,
    started,
    threads,
    write_policy,
)
from support.ros_doubles import BAD, SIDE, header, numbered
from support.small_encoders import picture

from s2robot.plugins.ros.core import NodeConfig
from s2robot.plugins.ros.core.config import embedding_topics


@pytest.mark.parametrize("reuse", [False, True])
def test_embeddings_are_the_offline_encoders(world: World, tiny: str, reuse: bool) -> None:
    bench = started(world, tiny, reuse=reuse, lazy=False)
    bench.subscribe()
    for i in range(3):
        frame = picture(1, 40, 48, seed=i)[0]
        shown = image(bench.now - i, frame)
        before = copy.deepcopy(shown.header)
        bench.show(shown)
        found = bench.wait_received(i + 1)[i]
        assert found.header == before
        assert found.header.frame_id == "left_camera_optical_frame"
        assert found.data == array("f", bench.offline(frame))
        assert list(found.shape) == [len(found.data)]
        assert found.model == bench.node._parts.core.model
        assert len(found.model.split("@")[1]) == 16
        world.forward(0.1)


def test_float32multiarray(world: World, tiny: str) -> None:
    topics = ["left", "right"]
    bench = started(world, tiny, output="float32multiarray", image_topics=topics, lazy=False)
    bench.subscribe(kind=ARRAY)
    for i, topic in enumerate(topics):
        bench.show(image(bench.now, picture(1, 40, 48, seed=i)[0]), f"/{topic}")
    (found,) = bench.wait_received(1)
    dims = found.layout.dim
    width = len(found.data) // 2
    assert [(d.label, d.size) for d in dims] == [("cell", 2), ("feature", width)]
    assert [d.stride for d in dims] == [2 * width, width]
    expected = bench.offline(picture(1, 40, 48)[0])
    np.testing.assert_allclose(found.data[:width], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("remapped", [False, True])
def test_a_compressed_topic(tiny: str, remapped: bool) -> None:
    topic = "/camera/image_raw/compressed"
    with installed() as world:
        world.args = ["-r", f"image:={topic}"] if remapped else []
        names = ["image"] if remapped else [topic]
        bench = started(world, tiny, image_topics=names, lazy=False)
        bench.subscribe()
        frame = picture(1, 40, 48)[0]
        stream = io.BytesIO()
        Image.fromarray(frame).save(stream, "PNG")
        shown = message_class("sensor_msgs/msg/CompressedImage")(
            format="bgr8; png compressed bgr8", data=stream.getvalue()
        )
        put_header(shown, bench.now)
        bench.show(shown, topic)
        (found,) = bench.wait_received(1)
        assert found.data == array("f", bench.offline(frame, names[0]))
    assert not threads()


def test_cameras_together(world: World, tiny: str) -> None:
    bench = started(world, tiny, image_topics=["/left", "right"], lazy=False)
    bench.subscribe()
    frames = {topic: picture(1, 40, 48, seed=i)[0] for i, topic in enumerate(("/left", "/right"))}
    stamps = {"/left": bench.now, "/right": bench.now - NS // 200}
    for topic in reversed(frames):
        bench.show(image(stamps[topic], frames[topic]), topic)
    (found,) = bench.wait_received(1)
    assert list(found.shape)[0] == 2
    assert found.header.stamp.nanosec == stamps["/left"] % NS
    halves = np.array(found.data).reshape(2, -1)
    for half, frame in zip(halves, frames.values(), strict=True):
        np.testing.assert_allclose(half, bench.offline(frame), rtol=1e-5, atol=1e-6)


def test_cameras_apart_have_topics_of_their_own(world: World, tiny: str) -> None:
    topics = ["/left/image", "right/image"]
    bench = started(world, tiny, image_topics=topics, synchronize=False)
    places = {"/left/image": "/embedding/left/image", "/right/image": "/embedding/right/image"}
    for place in places.values():
        bench.subscribe(place)
    world.forward(0.3)
    for i, (topic, place) in enumerate(places.items()):
        frame = picture(1, 40, 48, seed=i)[0]
        bench.show(image(bench.now, frame), topic)
        (found,) = bench.wait_received(1, place)
        assert found.data == array("f", bench.offline(frame, topics[i]))
    assert not bench.received["/embedding/left/image"][1:]


def test_names_of_embedding_topics() -> None:
    def of(*topics: str, **more: Any) -> list[str]:
        return list(embedding_topics(NodeConfig(image_topics=topics, **more)).values())

    assert of("/camera/image_raw") == ["embedding"]
    assert of("a", "/b") == ["embedding"]
    assert of("a", "/b/c", synchronize=False) == ["embedding/a", "embedding/b/c"]
    assert of("~/a", "~b", synchronize=False) == ["embedding/a", "embedding/b"]
    assert of("a", "b", synchronize=False, embedding_topic="/e") == ["/e/a", "/e/b"]
    with pytest.raises(ValueError, match="two of them would be published on 'embedding/a'"):
        of("/a", "a", synchronize=False)
    with pytest.raises(ValueError, match="image_topics has '/'"):
        of("/", "a", synchronize=False)


# ---------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("kind", BAD)
def test_bad_images_are_counted_and_never_published(world: World, tiny: str, kind: str) -> None:
    bench = started(world, tiny, lazy=False)
    bench.subscribe()
    (subscription,) = bench.node._subscriptions
    for i in range(5):
        if i % 2 == 0:
            bench.show(image(bench.now + i))
        elif kind in ("malformed", "stamp"):  # no message of rosidl's is like that
            subscription.callback(numbered(i, bench.now + i, **BAD[kind]))
        else:
            bench.show(image(bench.now + i, **BAD[kind]))
        bench.wait(lambda n=i: bench.counts().published + bench.counts().failures > n)
    counts = bench.counts()
    assert (counts.published, counts.failed) == (3, {kind: 2})
    assert len(bench.wait_received(3)) == 3
    assert len(world.logged("error")) == 1  # each kind is logged once


def test_a_header_that_rclpy_cannot_publish_does_not_stop_the_node(world: World, tiny: str) -> None:
    bench = started(world, tiny, lazy=False)
    bench.subscribe()
    (subscription,) = bench.node._subscriptions
    odd = numbered(0, bench.now, data=picture(1, SIDE, SIDE)[0].tobytes())
    odd.header = header(bench.now)  # a namespace, not std_msgs/Header
    subscription.put(odd)
    world.spin_some()
    bench.wait(lambda: bench.counts().failures == 1)
    assert bench.counts().failed == {"publish": 1}
    bench.show(image(bench.now))
    bench.wait_received(1)


def test_a_camera_that_is_only_best_effort(tiny: str) -> None:
    offered = {
        "best_effort": QoSProfile(5, reliability=ReliabilityPolicy.BEST_EFFORT),
        "reliable": QoSProfile(5),
    }
    for camera, qos in offered.items():
        for node in offered:
            with installed() as world:
                bench = started(world, tiny, reliability=node, lazy=False)
                bench.show(image(bench.now), qos=qos)
                served = (camera, node) != ("best_effort", "reliable")
                assert bench.counts().received == served
                warnings = world.logged("warning")
                assert len(warnings) == (not served)
                assert served or "Last incompatible policy: RELIABILITY" in warnings[0]


def test_stale_frames_are_not_published(world: World, tiny: str) -> None:
    bench = started(world, tiny, lazy=False, stale_s=20.0)
    bench.subscribe()
    bench.show(image(bench.now - 60 * NS))
    bench.wait(lambda: bench.counts().stale == 1)
    bench.show(image(bench.now))
    bench.wait_received(1)
    assert any("not published" in text for text in world.logged("warning"))


def test_simulated_time(tiny: str) -> None:
    with installed() as world:
        world.args = ["-p", "use_sim_time:=true"]
        bench = started(world, tiny, lazy=False, stale_s=20.0)
        bench.subscribe()
        assert bench.now == 0
        world.sim_ns = 100 * NS
        bench.show(image(95 * NS))
        bench.wait_received(1)
        bench.show(image(100 * NS))
        bench.wait_received(2)
        bench.show(image(START_NS))  # of the wall: a stamp in the future, which is logged
        bench.wait_received(3)
        world.sim_ns = 150 * NS
        bench.show(image(101 * NS))
        bench.wait(lambda: bench.counts().resets == 1 or bench.counts().stale == 1)
        assert bench.counts().stale == 1


def test_while_simulated_time_stands_still(tiny: str, tmp_path: Path) -> None:
    """Subscribers are counted and diagnostics come; the policy's ticks follow the simulator."""
    path = write_policy(tiny, tmp_path)
    for parameters, told in (({}, 1), ({"policy": path}, 2)):
        with installed() as world:
            world.args = ["-p", "use_sim_time:=true"]
            bench = started(world, tiny, **parameters)
            bench.subscribe()
            bench.subscribe("/diagnostics", DIAGNOSTICS)
            world.forward(1.1)
            assert "/image" in bench.subscribed()
            status = bench.received["/diagnostics"][-1].status
            assert len(status) == told
            if parameters:
                assert status[-1].message == "0 actions"  # no tick has looked for frames
                world.sim_ns = NS
                world.forward(1.1)
                status = bench.received["/diagnostics"][-1].status
                assert "no actions: there are no joint states yet: " in status[-1].message
