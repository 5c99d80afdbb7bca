# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import multiprocessing
import threading
from multiprocessing import shared_memory

import mujoco
import numpy as np
import pytest

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.rendering import RenderingError, RenderQuality, gl_info, renderer


@pytest.fixture(scope="module")
def env() -> PickCubeEnv:
    env = PickCubeEnv("precise")
    env.reset(seed=0)
    return env


@pytest.mark.parametrize("camera", ["front", "far", "wrist"])
@pytest.mark.parametrize("size", [(64, 64), (40, 120), (300, 200)])
def test_any_camera_at_any_size(env, camera, size):
    frame = env.render_frame(camera, *size)
    assert frame.shape == (*size, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 5  # not a blank


def test_the_same_state_gives_the_same_pixels_between_other_drawings(env):
    first = env.render_frame("far", 96, 96)
    other = PickCubeEnv("easy")
    other.reset(seed=1)
    other.render_frame("front", 50, 70)
    np.testing.assert_array_equal(env.render_frame("far", 96, 96), first)


def test_more_models_than_the_renderer_keeps():
    models = [mujoco.MjModel.from_xml_string(CAMERA_ONLY) for _ in range(6)]
    frames = [renderer().render(m, _posed(m), "eye", 32, 32) for m in (*models, models[0])]
    np.testing.assert_array_equal(frames[0], frames[-1])


CAMERA_ONLY = """<mujoco><worldbody><light pos="0 0 3"/><geom type="box" size=".2 .2 .2"/>
<camera name="eye" pos="0 -2 0" xyaxes="1 0 0 0 0 1"/></worldbody></mujoco>"""


def _posed(model: mujoco.MjModel) -> mujoco.MjData:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return data


def test_rows_run_top_down(env):
    frame = env.render_frame("front", 128, 128).astype(int)
    red = (frame[..., 0] > 90) & (frame[..., 1] < 60)
    rows = np.nonzero(red)[0]
    assert rows.size > 30
    assert rows.mean() > 50  # the cube lies below the gripper


def test_unknown_camera_is_named_with_the_ones_there_are(env):
    with pytest.raises(ValueError, match=r"unknown camera 'fron'.*far, front, wrist.*'front'"):
        env.render_frame("fron", 32, 32)


@pytest.mark.parametrize("size", [(0, 32), (32, 5000)])
def test_impossible_sizes_are_refused(env, size):
    with pytest.raises(ValueError, match="allowed: an integer of 1 to 4096"):
        env.render_frame("front", *size)


def test_a_picture_drawn_into_a_given_array_has_the_bytes_of_a_new_one(env):
    frames = np.zeros((3, 40, 56, 3), np.uint8)
    plain = env.render_frame("front", 40, 56)
    returned = env.render_frame("front", 40, 56, out=frames[1])
    assert np.shares_memory(returned, frames)
    np.testing.assert_array_equal(frames[1], plain)
    assert not frames[[0, 2]].any()


def test_a_picture_can_be_drawn_into_shared_memory(env):
    size = (24, 24, 3)
    block = shared_memory.SharedMemory(create=True, size=int(np.prod(size)))
    try:
        frame = np.ndarray(size, np.uint8, buffer=block.buf)
        env.render_frame("front", 24, 24, out=frame)
        np.testing.assert_array_equal(frame, env.render_frame("front", 24, 24))
        del frame
    finally:
        block.close()
        block.unlink()


def test_a_returned_picture_stays_as_it_was_when_the_next_is_drawn(env):
    first = env.render_frame("front", 32, 32)
    kept = first.copy()
    env.render_frame("far", 32, 32)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("out", "seen"),
    [
        (np.zeros((20, 30, 3), np.uint8), r"out is \(20, 30, 3\) uint8"),
        (np.zeros((30, 20, 3), np.float32), r"out is \(30, 20, 3\) float32"),
        (np.zeros((30, 20, 6), np.uint8)[..., ::2], "out is not in C order"),
        (np.frombuffer(bytes(1800), np.uint8).reshape(30, 20, 3), "out is read-only"),
        ([[0]], "out is a list"),
    ],
)
def test_an_array_that_cannot_hold_the_picture_is_refused(env, out, seen):
    with pytest.raises(ValueError, match=rf"{seen}; allowed: \(30, 20, 3\) uint8"):
        env.render_frame("front", 30, 20, out=out)


def test_gl_info_says_what_draws():
    info = gl_info()
    assert set(info) == {"renderer", "backend", "software"}
    assert info["renderer"]


@pytest.mark.parametrize("change", [{"msaa": -1}, {"shadow_size": 0.5}, {"slices": 2}])
def test_impossible_quality_is_refused(change):
    with pytest.raises(ValueError, match=f"quality.{next(iter(change))} is"):
        RenderQuality(**change)


def test_quality_changes_the_picture():
    plain, shadowed = PickCubeEnv(), PickCubeEnv(quality={"shadow_size": 512})
    plain.reset(seed=0)
    shadowed.reset(seed=0)
    pictures = [env.render_frame("front", 96, 96).astype(int) for env in (plain, shadowed)]
    assert np.abs(pictures[0] - pictures[1]).max() > 10


SHELF = """<mujoco><statistic extent="1"/><visual><map znear="0.05" zfar="20"/></visual><worldbody>
<geom name="wall" type="box" size="4 .5 1" pos="0 2.5 0"/>
<geom name="post" type="box" size=".1 .25 3" pos="-.3 1 0"/>
<geom name="ghost" type="sphere" size=".3" pos=".5 .5 0" rgba="1 1 1 0"/>
<site name="mark" type="sphere" size=".04" pos=".3 .8 0"/>
<camera name="eye" pos="0 0 0" xyaxes="1 0 0 0 0 1" fovy="60"/></worldbody></mujoco>"""


@pytest.mark.parametrize("samples", [0, 4])
def test_labels_agree_with_geometry(samples):
    """Along each pixel's ray: the wall is 2 m away, the post's face 0.75 m, above is nothing."""
    model = mujoco.MjModel.from_xml_string(SHELF)
    model.vis.quality.offsamples = samples
    size = 120
    found = renderer().render_labels(model, _posed(model), "eye", size, size)
    slope = ((np.arange(size) + 0.5) / size * 2 - 1) * np.tan(np.radians(30))
    x, z = np.meshgrid(slope, -slope)  # at 1 m; rows run down
    post = (x * 0.75 > -0.4) & (x * 0.75 < -0.2)  # its face
    side = (x * 0.75 > -0.2) & (x * 1.25 < -0.2)  # seen where the ray meets the plane x = -0.2
    mark = np.hypot(x - 0.3 / 0.8, z) < 0.07  # the site, and a margin around it
    sure = ~post & ~side & ~mark
    wall = np.abs(z * 2) < 1
    ids = [model.geom(name).id for name in ("wall", "post")]
    np.testing.assert_array_equal(found.geom_id[wall & sure], ids[0])
    np.testing.assert_array_equal(found.geom_id[post | side], ids[1])
    np.testing.assert_array_equal(found.geom_id[~wall & sure], -1)
    assert found.geom_id[60, round((0.3 / 0.8 / np.tan(np.radians(30)) + 1) * 60)] == -1
    np.testing.assert_allclose(found.depth_m[wall & sure], 2, rtol=1e-4)
    np.testing.assert_allclose(found.depth_m[post], 0.75, rtol=1e-4)
    np.testing.assert_allclose(found.depth_m[side], -0.2 / x[side], rtol=1e-3)
    assert np.isinf(found.depth_m[~wall & sure]).all()
    assert set(np.unique(found.geom_id)) == {-1, *ids}  # the unseen ghost hides nothing
    assert model.vis.quality.offsamples == samples


def test_labels_leave_later_pictures_as_they_were(env):
    before = env.render_frame("far", 64, 64)
    labels = renderer().render_labels(env.model, env.data, "far", 64, 64)
    np.testing.assert_array_equal(env.render_frame("far", 64, 64), before)
    assert labels.geom_id.shape == labels.depth_m.shape == (64, 64)
    assert (labels.geom_id.dtype, labels.depth_m.dtype) == (np.int32, np.float32)
    red = (before[..., 0] > 120) & (before[..., 1] < 80)
    cube = labels.geom_id == env.model.geom("cube").id
    assert red.sum() > 3
    assert (cube & red).sum() >= 0.8 * red.sum()


def test_labels_of_an_unknown_camera_or_size_are_refused(env):
    with pytest.raises(ValueError, match="unknown camera 'fron'"):
        renderer().render_labels(env.model, env.data, "fron", 32, 32)
    with pytest.raises(ValueError, match="image width .px. is 0"):
        renderer().render_labels(env.model, env.data, "far", 32, 0)


def test_a_process_forked_after_drawing_is_told_to_spawn(env):
    env.render_frame("front", 16, 16)
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_draw_and_tell, args=(env, sender))
    child.start()
    assert receiver.poll(30)
    assert "context='spawn'" in receiver.recv()
    child.join(10)


def _draw_and_tell(env: PickCubeEnv, sender) -> None:
    try:
        env.render_frame("front", 16, 16)
        sender.send("drew")
    except RenderingError as error:
        sender.send(str(error))


def test_threads_draw_beside_each_other_and_after_another_has_ended(env):
    first = env.render_frame("far", 48, 48)
    gate = threading.Barrier(3)
    drawn: list[np.ndarray] = []

    def draw(others: bool) -> None:
        own = PickCubeEnv("precise")
        own.reset(seed=0)
        for _ in range(5):
            if others:
                gate.wait(60)
            drawn.append(own.render_frame("far", 48, 48))

    together = [threading.Thread(target=draw, args=(True,)) for _ in range(3)]
    for thread in together:
        thread.start()
    drawn += [env.render_frame("far", 48, 48) for _ in range(5)]
    for thread in together:
        thread.join()
    for _ in range(3):  # one after the other
        thread = threading.Thread(target=draw, args=(False,))
        thread.start()
        thread.join()
    assert len(drawn) == 5 * 7
    for frame in (*drawn, env.render_frame("far", 48, 48)):
        np.testing.assert_array_equal(frame, first)
