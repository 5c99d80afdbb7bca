"""Feature store: values, shared scales, killed processes, damaged files, concurrent processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.changed_weights import CHANGES
from support.paths import ROOT, TESTS
from support.tiny_models import write_tiny_model

from s2robot.backbones import Backbone
from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import CorruptFileError, MismatchError, S2RobotError

FRAMES = 11
BLOCK = 3


@dataclass
class Demos:
    digest: str = "demos"
    num_frames: int = FRAMES


@dataclass
class Frames:
    """Reader of computed pictures that records its reads and may kill its process at a frame."""

    count: int = FRAMES
    camera: str = "front"
    kill_at: int = -1
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def source(self) -> dict[str, Any]:
        return {"camera": self.camera}

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> np.ndarray:
        if start <= self.kill_at < stop:
            os.kill(os.getpid(), signal.SIGKILL)
        self.reads.append((start, stop))
        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, size=(self.count, 40, 40, 3), dtype=np.uint8)
        return pictures[start:stop]


Make = Callable[..., FrameEncoder]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def make(card: Path) -> Make:
    def build(scales: tuple[float, ...] = (1, 2), **settings: Any) -> FrameEncoder:
        settings = {"readout": "spatial_softmax", **settings}
        return FrameEncoder.from_name(f"file:{card}", scales=scales, device="cpu", **settings)

    return build


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", block_frames=BLOCK)


def fill(store: FeatureStore, encoder: FrameEncoder, **settings: Any) -> Frames:
    """Encode and return the reader, which records the frames that were read."""
    frames = Frames()
    store.ensure(Demos(), frames, encoder, progress=False, **settings)
    return frames


def entries(store: FeatureStore) -> list[Path]:
    return sorted(path.parent for path in store.root.glob("*/meta.json"))


@pytest.mark.parametrize("change", CHANGES)
def test_features_of_changed_weights_are_computed_anew(
    store: FeatureStore, make: Make, change: Callable[[Backbone], None]
) -> None:
    encoder = make()
    frames = fill(store, encoder)
    before = store.load(Demos(), frames, encoder)
    change(encoder.backbone)
    with pytest.raises(FileNotFoundError):
        store.load(Demos(), frames, encoder)
    store.ensure(Demos(), frames, encoder, progress=False)
    live = encoder(frames.read(0, FRAMES))
    found = store.load(Demos(), frames, encoder)
    torch.testing.assert_close(found.float(), live, rtol=1e-3, atol=1e-3)
    assert torch.equal(store.load(Demos(), frames, make()), before)


@pytest.mark.parametrize("readout", ["cls", "mean", "spatial_softmax"])
@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("input_mode", ["native", "interpolate"])
def test_cached_equals_live(
    store: FeatureStore, make: Make, readout: str, index: int, input_mode: str
) -> None:
    encoder = make(readout=readout, resize_output_to_idx=index, input_mode=input_mode)
    frames = fill(store, encoder)
    cached = store.load(Demos(), frames, encoder)
    live = encoder(frames.read(0, FRAMES))
    assert cached.dtype == torch.float16
    assert cached.shape == (FRAMES, encoder.embedding_dim)
    assert F.cosine_similarity(cached.double(), live.double()).min() >= 0.9999
    torch.testing.assert_close(cached.float(), live, rtol=1e-3, atol=1e-3)
    assert torch.equal(store.load(Demos(), frames, encoder.spec), cached)


def test_missing_scales_are_made_in_one_pass(store: FeatureStore, make: Make) -> None:
    assert fill(store, make((1, 2, 3))).reads == [(0, 3), (3, 6), (6, 9), (9, 11)]
    assert len(entries(store)) == 3


def test_scale_sets_share_scales(store: FeatureStore, make: Make) -> None:
    fill(store, make((1, 2)))
    before = entries(store)
    assert fill(store, make((2, 1), resize_output_to_idx=-1)).reads == []  # the same grids
    fill(store, make((1, 2, 3)))
    assert len(entries(store)) == 3
    assert set(before) < set(entries(store))


def test_what_is_the_same_is_stored_once(store: FeatureStore, make: Make) -> None:
    fill(store, make((1,)))
    assert fill(store, make((1,), input_mode="interpolate")).reads == []
    fill(store, make((1,), readout="cls"))
    assert fill(store, make((1,), readout="published")).reads == []
    assert len(entries(store)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"input_mode": "interpolate"},
        {"readout": "mean"},
        {"dtype": "bfloat16"},
        {"scales": (1, 3)},
        {"resize_output_to_idx": -1},  # scale 2 is stored at its own grid
    ],
)
def test_what_differs_is_stored_apart(
    store: FeatureStore, make: Make, change: dict[str, Any]
) -> None:
    fill(store, make((1, 2)))
    fill(store, make(**change))
    assert len(entries(store)) > 2


@pytest.mark.parametrize(
    ("demos", "frames"), [(Demos("others"), Frames()), (Demos(), Frames(camera="far"))]
)
def test_other_data_is_stored_apart(
    store: FeatureStore, make: Make, demos: Demos, frames: Frames
) -> None:
    fill(store, make((1,)))
    store.ensure(demos, frames, make((1,)), progress=False)
    assert len(entries(store)) == 2


def test_other_weights_are_stored_apart(store: FeatureStore, make: Make, tmp_path: Path) -> None:
    fill(store, make((1,)))
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": 32}
    other = write_tiny_model(tmp_path, preprocessing=pixels)
    fill(store, FrameEncoder.from_name(f"file:{other}", readout="spatial_softmax", device="cpu"))
    assert len(entries(store)) == 2


def test_scales_at_different_progress(store: FeatureStore, make: Make) -> None:
    first, second, both = (make(scales, readout="mean") for scales in ((1,), (2,), (1, 2)))
    coarse = FeatureStore(store.root, block_frames=4)
    with pytest.raises(InterruptedError):
        coarse.ensure(Demos(), Interrupted(stop_at=8), second, progress=False)
    with pytest.raises(InterruptedError):
        store.ensure(Demos(), Interrupted(stop_at=3), first, progress=False)
    frames = fill(store, both)
    assert frames.reads == [(3, 6), (6, 8), (8, 11)]
    resumed, live = store.load(Demos(), frames, both), both(frames.read(0, FRAMES))
    torch.testing.assert_close(resumed.float(), live, rtol=1e-3, atol=1e-3)


class Interrupted(Frames):
    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self.stop_at = stop_at

    def read(self, start: int, stop: int) -> np.ndarray:
        if stop > self.stop_at:
            raise InterruptedError
        return super().read(start, stop)


def run_apart(card: Path, root: Path, kill_at: int) -> int:
    """Encode in another process, which is killed on reading frame ``kill_at``."""
    return started(card, root, kill_at).wait(timeout=300)


def started(card: Path, root: Path, kill_at: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, str(card), str(root), str(kill_at)]
    path = os.pathsep.join([str(ROOT), str(TESTS)])
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


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
    with pytest.raises(FileNotFoundError, match=r"6 of 11 frames .* `s2robot features`"):
        store.load(Demos(), Frames(), encoder)
    assert fill(store, encoder).reads == [(6, 9), (9, 11)]
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


def test_nothing_encoded_yet(store: FeatureStore, make: Make) -> None:
    with pytest.raises(FileNotFoundError, match="0 of 11 frames"):
        store.load(Demos(), Frames(), make((1,)))


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


def assert_same(features: torch.Tensor, whole: torch.Tensor) -> None:
    """Compare features that may have been encoded in batches of other sizes."""
    torch.testing.assert_close(features, whole, rtol=1e-3, atol=1e-3)


def test_features_made_anew_replace_the_stored_ones(store: FeatureStore, make: Make) -> None:
    fill(store, make((1,)))
    assert fill(store, make((1,)), refresh=True).reads[0] == (0, 3)


def store_whole(store: FeatureStore, encoder: FrameEncoder) -> torch.Tensor:
    return store.load(Demos(), fill(store, encoder), encoder)


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


@pytest.mark.parametrize(("demos", "count"), [(Demos(num_frames=5), 6), (Demos(num_frames=0), 0)])
def test_numbers_of_frames_must_agree(
    store: FeatureStore, make: Make, demos: Demos, count: int
) -> None:
    with pytest.raises(MismatchError, match="the same number"):
        store.ensure(demos, Frames(count), make((1,)), progress=False)


def test_features_beyond_half_precision(
    store: FeatureStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make((1,), readout="mean")
    monkeypatch.setattr(
        encoder, "encode_scales", lambda block, scales: {1: torch.full((len(block), 24), 1e6)}
    )
    with pytest.raises(S2RobotError, match="largest 1e\\+06"):
        store.ensure(Demos(), Frames(), encoder, progress=False)


def test_block_size_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        FeatureStore(tmp_path, block_frames=0)


def test_progress_is_shown(store: FeatureStore, make: Make, capsys: pytest.CaptureFixture) -> None:
    store.ensure(Demos(), Frames(), make((1, 2)))
    assert "encoding scales (1, 2)" in capsys.readouterr().err


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


@pytest.mark.process
@pytest.mark.slow
def test_an_approximate_runtime_is_refused(store: FeatureStore, make: Make) -> None:
    encoder = make()
    frames = np.concatenate([Frames().read(0, FRAMES)] * 3)
    encoder.calibrate(frames)
    encoder.use_runtime("openvino-int8")
    with pytest.raises(MismatchError, match=r"openvino-int8 is approximate.* use runtime auto"):
        fill(store, encoder)
    assert not entries(store)


@pytest.mark.process
@pytest.mark.slow
def test_exact_runtimes_have_entries_of_their_own(store: FeatureStore, make: Make) -> None:
    """They differ in the last digits, so a policy is trained on those of one runtime."""
    other = make().use_runtime("openvino")
    fill(store, other)
    assert fill(store, other).reads == []
    frames = fill(store, make())
    assert frames.reads
    assert len(entries(store)) == 4
