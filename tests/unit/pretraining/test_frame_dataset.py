"""Frame pools: whole shards only, found again, rendered frames the same however they are made."""

from __future__ import annotations

import numpy as np
import pytest
from support.damage import attempt, damaged_json
from support.other_pictures import OTHER_PICTURES

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.pretraining.frame_dataset import (
    FrameDataset,
    kept_shards,
    rendered_shards,
    write_shard,
)


def frame(i: int, shape=(8, 12)) -> np.ndarray:
    return np.full((*shape, 3), i % 256, dtype=np.uint8)


def keep(tmp_path, count: int, key: str = "a", shape=(8, 12)):
    return kept_shards(
        tmp_path, key, lambda: (frame(i, shape) for i in range(count)), "test frames"
    )


def test_frames_come_back_in_order_over_shards(tmp_path):
    paths = keep(tmp_path, 600)
    pool = FrameDataset(paths)
    assert len(paths) == 3
    assert len(pool) == 600
    assert [int(pool[i][0, 0, 0]) for i in (0, 255, 256, 599)] == [0, 255, 0, 599 % 256]


def test_shards_of_several_sizes_share_a_pool(tmp_path):
    pool = FrameDataset([*keep(tmp_path, 64), *keep(tmp_path, 64, "b", (5, 5))])
    assert pool[63].shape == (8, 12, 3)
    assert pool[64].shape == (5, 5, 3)


def test_kept_frames_are_not_made_again(tmp_path):
    first = keep(tmp_path, 64)

    def never():
        raise AssertionError("made again")

    assert kept_shards(tmp_path, "a", never, "test frames") == first


def test_a_killed_preparation_is_made_anew(tmp_path):
    def killed():
        yield from (frame(i) for i in range(300))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_shards(tmp_path, "a", killed, "test frames")
    assert len(FrameDataset(keep(tmp_path, 100))) == 100


def test_too_few_frames_are_refused(tmp_path):
    with pytest.raises(S2RobotError, match="test frames holds 63 frames"):
        keep(tmp_path, 63)


@pytest.mark.parametrize(
    "odd", [frame(0, (9, 9)), np.zeros((8, 12), np.uint8), np.zeros((8, 12, 3), np.float32)]
)
@pytest.mark.parametrize("place", [0, 1, 300])
def test_a_frame_unlike_the_others_is_named_with_its_source_and_leaves_no_shard(
    tmp_path, odd, place
):
    frames = [frame(i) for i in range(310)]
    frames[place] = odd
    if place == 0 and odd.shape == (9, 9, 3):
        place = 1  # the first frame is the measure
    message = rf"test frames: frame {place} \(counted from 0\) is"
    with pytest.raises(S2RobotError, match=message):
        kept_shards(tmp_path, "a", lambda: iter(frames), "test frames")
    assert not [*tmp_path.rglob("*.npy")]


def test_frames_of_another_shape_are_refused_and_leave_no_shard(tmp_path):
    with pytest.raises(ValueError):
        write_shard(tmp_path / "s.npy", [frame(0), frame(1, (9, 9))], (2, 8, 12, 3))
    assert not (tmp_path / "s.npy").exists()


def test_an_empty_pool_is_refused():
    with pytest.raises(ValueError, match="at least one shard"):
        FrameDataset([])


def test_damaged_shards_are_named(tmp_path):
    paths = keep(tmp_path, 64)
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[:-100])
    with pytest.raises(CorruptFileError, match=r"frames_00000\.npy is damaged .*delete"):
        FrameDataset(paths)
    np.save(paths[0], np.zeros((3, 4), dtype=np.uint8))
    with pytest.raises(CorruptFileError, match=r"uint8 \(3, 4\) instead of uint8"):
        FrameDataset(paths)


def test_every_damage_of_the_list_of_shards_is_an_error(tmp_path):
    paths = keep(tmp_path, 300)
    whole = [np.load(path) for path in paths]
    for damage in damaged_json(paths[0].with_name("frames.json")):
        found, message = attempt(lambda: keep(tmp_path, 300), CorruptFileError)
        if found is None:
            assert f"delete {paths[0].parent} and rerun" in message, damage
        else:
            assert all(np.array_equal(np.load(p), w) for p, w in zip(found, whole, strict=True))


@pytest.mark.parametrize("damage", ["cut", "missing", "other type", "fewer frames", "gray"])
def test_kept_shards_that_are_damaged_are_named(tmp_path, damage):
    path = keep(tmp_path, 300)[1]
    frames = np.load(path)
    others = {
        "other type": frames.astype(float),
        "fewer frames": frames[1:],
        "gray": frames[..., 0],
    }
    if damage in others:
        np.save(path, others[damage])
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(CorruptFileError, match=r"frames_00001\.npy is damaged .* rerun the same"):
        keep(tmp_path, 300)


@pytest.mark.render
def test_rendered_frames_are_those_of_their_number(tmp_path):
    from s2robot.envs.domain_randomization import RandomScenes

    paths = rendered_shards(tmp_path, 3, seed=5, size=32)
    pool = FrameDataset(paths)
    scenes = RandomScenes(seed=5, size=32)
    assert all(np.array_equal(pool[i], scenes.frame(i)) for i in range(3))
    np.save(paths[0], np.load(paths[0])[:, :16])
    with pytest.warns(UserWarning, match="rendered again now"):
        rendered_shards(tmp_path, 3, seed=5, size=32)
    assert all(np.array_equal(FrameDataset(paths)[i], scenes.frame(i)) for i in range(3))
    before = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in rendered_shards(tmp_path, 3, 5, 32)] == before


@pytest.mark.parametrize("change", OTHER_PICTURES)
def test_frames_of_another_renderer_simulator_or_code_are_not_mixed_in(
    tmp_path, monkeypatch, change
):
    def draw(path, _kind, _start, count, _seed, size):
        write_shard(path, [frame(i, (size, size)) for i in range(count)], (count, size, size, 3))

    monkeypatch.setattr("s2robot.pretraining.frame_dataset._render_shard", draw)
    before = rendered_shards(tmp_path, 3, seed=5, size=32)
    assert rendered_shards(tmp_path, 3, seed=5, size=32) == before
    monkeypatch.setattr(*change)
    assert rendered_shards(tmp_path, 3, seed=5, size=32) != before


@pytest.mark.render
def test_segments_are_those_of_the_frames(tmp_path):
    from s2robot.envs.domain_randomization import RandomScenes
    from s2robot.envs.scene import ALL_SEGMENTS

    frames = rendered_shards(tmp_path, 6, seed=0, size=96)
    segments = rendered_shards(tmp_path, 6, seed=0, size=96, kind="segments")
    pool = FrameDataset(frames, segments)
    scenes = RandomScenes(seed=0, size=96)
    seen = [pool.segments(i) for i in range(6)]
    assert all(np.array_equal(seen[i], scenes.segments(i, 48)) for i in range(6))
    assert seen[0].shape == (48, 48)
    assert set(np.unique(seen)) <= set(range(len(ALL_SEGMENTS)))
    assert {0, 1, 2} <= set(np.unique(seen))  # background, table, arm
    assert not FrameDataset(frames).has_segments


@pytest.mark.render
def test_more_frames_keep_the_whole_shards(tmp_path, monkeypatch):
    from s2robot.pretraining import frame_dataset as frame_pools

    monkeypatch.setattr(frame_pools, "SHARD_FRAMES", 2)
    monkeypatch.setattr(frame_pools, "usable_cores", lambda: 1)
    few = rendered_shards(tmp_path, 3, seed=0, size=16)
    many = rendered_shards(tmp_path, 5, seed=0, size=16)
    assert few[0] == many[0]
    assert len(FrameDataset(many)) == 5
    assert np.array_equal(FrameDataset(few)[2], FrameDataset(many)[2])


@pytest.mark.render
@pytest.mark.process
def test_shards_that_workers_render_are_those_of_one_process(tmp_path, monkeypatch):
    from s2robot.pretraining import frame_dataset

    monkeypatch.setattr(frame_dataset, "SHARD_FRAMES", 2)
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(frame_dataset, "usable_cores", lambda cores=cores: cores)
        shards = rendered_shards(tmp_path / str(cores), 5, seed=0, size=16)
        found.append([path.read_bytes() for path in shards])
    assert found[0] == found[1]
