"""Feature store: killed processes, damaged files, concurrent processes."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.forked import ForkedProcess
from support.stored_features import (
    BLOCK,
    FRAMES,
    Demos,
    Frames,
    Interrupted,
    Make,
    assert_same,
    entries,
    fill,
    store_whole,
)

from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import CorruptFileError


def run_apart(card: Path, root: Path, kill_at: int) -> int:
    """Encode in another process, which is killed on reading frame ``kill_at``."""
    return started(card, root, kill_at).wait(timeout=300)


def started(card: Path, root: Path, kill_at: int) -> ForkedProcess:
    return ForkedProcess([sys.executable, __file__, card, root, kill_at])


@pytest.mark.process
@pytest.mark.slow
def test_processes_that_write_one_store_at_once(
    store: FeatureStore, make: Make, card: Path, tmp_path: Path
) -> None:
    processes = [started(card, store.root, kill_at) for kill_at in (-1, -1, 7)]
    codes = [process.wait(timeout=300) for process in processes]
    assert codes[:2] == [0, 0]  # the third may find all done, or be killed at its turn
    encoder = make((1, 2))
    assert fill(store, encoder).reads == []
    whole = store_whole(FeatureStore(tmp_path / "whole", block_frames=BLOCK), encoder)
    assert_same(store.load(Demos(), Frames(), encoder), whole)


@pytest.mark.process
@pytest.mark.slow
def test_kill_and_resume(store: FeatureStore, make: Make, card: Path, tmp_path: Path) -> None:
    assert run_apart(card, store.root, kill_at=7) == -signal.SIGKILL
    encoder = make((1, 2))
    with pytest.raises(FileNotFoundError, match=r"[36] of 11 frames .* `s2robot features`"):
        store.load(Demos(), Frames(), encoder)
    reads = fill(store, encoder).reads  # it was killed while it encoded 3 to 6, or after
    assert reads[-2:] == [(6, 9), (9, 11)]
    assert reads[:-2] in ([(3, 6)], [])
    whole = FeatureStore(tmp_path / "whole", block_frames=BLOCK)
    fill(whole, encoder)
    resumed = store.load(Demos(), Frames(), encoder)
    torch.testing.assert_close(
        resumed, whole.load(Demos(), Frames(), encoder), rtol=1e-3, atol=1e-3
    )
    assert all(path.suffix in (".npy", ".json") for path in store.root.glob("*/*"))


def test_a_shard_that_was_not_listed_is_made_again(store: FeatureStore, make: Make) -> None:
    encoder = make((1,))
    with pytest.raises(InterruptedError):
        store.ensure(Demos(), Interrupted(stop_at=6), encoder, progress=False)
    (entries(store)[0] / "0000006.npy").write_bytes(b"left by a kill")
    frames = fill(store, encoder)
    cached, live = store.load(Demos(), frames, encoder), encoder(frames.read(0, FRAMES))
    torch.testing.assert_close(cached.float(), live, rtol=1e-3, atol=1e-3)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "altered": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "removed": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_shards_are_refused_and_mended(
    store: FeatureStore, make: Make, damage: str
) -> None:
    encoder = make((1,))
    frames = fill(store, encoder)
    whole = store.load(Demos(), frames, encoder)
    DAMAGE[damage](entries(store)[0] / "0000003.npy")
    with pytest.raises(CorruptFileError, match=r"0000003.npy .* run `s2robot features`"):
        store.load(Demos(), frames, encoder)
    with pytest.warns(UserWarning, match=r"0000003.npy .* 3 of 11 frames are encoded again"):
        assert fill(store, encoder).reads == [(3, 6)]
    assert_same(store.load(Demos(), frames, encoder), whole)


def test_a_record_that_is_listed_twice_counts_once(store: FeatureStore, make: Make) -> None:
    encoder = make((1,))
    whole = store_whole(store, encoder)
    listing = entries(store)[0] / "meta.json"
    content = json.loads(listing.read_text())
    shards = content["shards"]
    for surplus, again in (([shards[0], *shards], []), ([shards[0], shards[0], *shards[2:]], [3])):
        listing.write_text(json.dumps({**content, "shards": surplus}))
        with pytest.raises(CorruptFileError, match=r"shard 1, .* frames of another shard"):
            store.load(Demos(), Frames(), encoder)
        with pytest.warns(UserWarning, match=f"{sum(again)} of 11 frames are encoded again"):
            assert [start for start, _ in fill(store, encoder).reads] == again
        assert_same(store.load(Demos(), Frames(), encoder), whole)


def test_an_entry_that_was_copied_to_the_folder_of_another_is_not_taken_for_it(
    store: FeatureStore, make: Make
) -> None:
    front, far = Frames(), Frames(camera="far")
    encoder = make((1,), readout="mean")
    store.ensure(Demos(), front, encoder, progress=False)
    (first,) = entries(store)
    store.ensure(Demos(), far, encoder, progress=False)
    (second,) = set(entries(store)) - {first}
    shutil.copytree(first, second, dirs_exist_ok=True)
    with pytest.raises(CorruptFileError, match="edited or copied"):
        store.load(Demos(), far, encoder)
    with pytest.warns(UserWarning, match="11 of 11 frames are encoded again"):
        store.ensure(Demos(), far, encoder, progress=False)
    assert store.load(Demos(), front, encoder).shape == store.load(Demos(), far, encoder).shape


def test_lists_of_earlier_versions_are_read_and_get_digests_at_the_next_write(
    store: FeatureStore, make: Make
) -> None:
    encoder = make((1,))
    whole = store_whole(store, encoder)
    listing = entries(store)[0] / "meta.json"
    content = json.loads(listing.read_text())
    for shard in content["shards"]:
        del shard["digest"]
    listing.write_text(json.dumps(content))
    before = listing.read_bytes()
    assert fill(store, encoder).reads == []
    assert torch.equal(store.load(Demos(), Frames(), encoder), whole)
    assert listing.read_bytes() == before  # a store that is only read is not written
    (listing.parent / "0000006.npy").unlink()
    with pytest.warns(UserWarning, match="3 of 11"):
        fill(store, encoder)
    assert all(shard["digest"] for shard in json.loads(listing.read_text())["shards"])


class Stopped(BaseException):
    """A kill: no handler of errors sees it."""


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_write_leaves_a_store_that_resumes(
    store: FeatureStore, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    encoder = make((1, 2))
    whole = store_whole(FeatureStore(tmp_path / "whole", block_frames=BLOCK), encoder)
    replace, kills = Path.replace, 0
    for kill_at in range(1, 30):
        writes = 0

        def killed(self: Path, target: Path, kill_at: int = kill_at) -> Path:
            nonlocal writes
            writes += 1
            if writes == kill_at and not after:
                raise Stopped
            moved = replace(self, target)
            if writes == kill_at:
                raise Stopped
            return moved

        shutil.rmtree(store.root, ignore_errors=True)
        monkeypatch.setattr(Path, "replace", killed)
        try:
            fill(store, encoder)
        except Stopped:
            kills += 1
        monkeypatch.setattr(Path, "replace", replace)
        for entry in entries(store)[: writes >= kill_at]:
            (entry / ".0000003.left.npy").write_bytes(b"of a kill -9")
        complete = fill(store, encoder).reads == []
        assert_same(store.load(Demos(), Frames(), encoder), whole)
        if writes < kill_at:
            break
        assert complete or not list(store.root.glob("*/.*"))
    assert kills == 16  # two scales of four shards, each with its file and the list


def test_calls_at_once_encode_once(store: FeatureStore, make: Make) -> None:
    frames = Frames()
    encoder = make((1, 2))
    threads = [
        threading.Thread(target=store.ensure, args=(Demos(), frames, encoder, False))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(frames.reads) == [(0, 3), (3, 6), (6, 9), (9, 11)]
    assert store.load(Demos(), frames, encoder).shape[0] == FRAMES


if __name__ == "__main__":
    model_card, folder, kill_at = sys.argv[1:]
    FeatureStore(folder, block_frames=BLOCK).ensure(
        Demos(),
        Frames(kill_at=int(kill_at)),
        FrameEncoder.from_name(
            f"file:{model_card}", scales=(1, 2), readout="spatial_softmax", device="cpu"
        ),
        progress=False,
    )
