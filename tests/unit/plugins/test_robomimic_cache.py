"""A robomimic file's images as embeddings, which plain robomimic trains on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from s2robot import FrameEncoder
from s2robot.cli.main import main
from s2robot.errors import CorruptFileError
from s2robot.plugins.robomimic import S2Core, cache
from s2robot.plugins.robomimic.cache import cache_embeddings
from s2robot.plugins.robomimic.core import SmallFrameWarning

pytestmark = pytest.mark.filterwarnings("ignore::s2robot.plugins.robomimic.core.SmallFrameWarning")

OPTIONS: dict[str, Any] = {"scales": (1,), "readout": "mean", "device": "cpu", "runtime": "eager"}
STEPS, SIZE = 3, 40


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return FrameEncoder.from_name("random/vitt16-128", **OPTIONS)


def write(path: Path, convention: str = "") -> Path:
    """Two episodes of two cameras, with next observations and a mask."""
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for number in (0, 10):  # sorted by number, not by letter
            group = file.create_group(f"data/demo_{number}")
            group.attrs["num_samples"] = STEPS
            group.attrs["model_file"] = "<mujoco/>"
            group["actions"] = random.normal(size=(STEPS, 2))
            group["states"] = random.normal(size=(STEPS, 5))
            for camera in ("front_image", "wrist_image"):
                frames = random.integers(0, 256, (STEPS + 1, SIZE, SIZE, 3), dtype=np.uint8)
                group.create_dataset(f"obs/{camera}", data=frames[:-1], compression="gzip")
                group[f"next_obs/{camera}"] = frames[1:]
            group["obs/pos"] = random.normal(size=(STEPS, 3))
            group["next_obs/pos"] = random.normal(size=(STEPS, 3))
        file["data"].attrs["env_args"] = json.dumps({"env_name": "x", "type": 1, "env_kwargs": {}})
        if convention:
            file["data"].attrs["macros_image_convention"] = convention
        file["data/extra"] = np.arange(3)  # no episode
        file["mask/train"] = np.array(["demo_10"], dtype="S8")
    return path


def everything(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        found.update({f"@{key}": value for key, value in file["data"].attrs.items()})

        def visit(name: str, item: Any) -> None:
            found.update({f"{name}@{key}": value for key, value in item.attrs.items()})
            if isinstance(item, h5py.Dataset):
                found[name] = item[:]

        file.visititems(visit)
    return found


def test_embeddings_take_the_place_of_images_and_all_else_is_kept(tmp_path, encoder) -> None:
    source, out = write(tmp_path / "in.hdf5"), tmp_path / "new" / "out.hdf5"
    found = cache_embeddings(source, out, encoder, batch=2)
    assert found.keys == ("front_embedding", "wrist_embedding")
    assert (found.low_dim, found.episodes) == (("pos",), 2)
    assert found.frames == 2 * 2 * (STEPS + 1)  # of the next observations, only each last one
    before, after = everything(source), everything(out)
    record = json.loads(after.pop("data@s2robot_embeddings"))
    assert record == json.loads(after.pop("@s2robot_embeddings"))
    for args in (after.pop("data@env_args"), after.pop("@env_args")):  # for checkpoints
        told = json.loads(args)
        assert told.pop("s2robot_embeddings") == record
        assert told == json.loads(before["@env_args"])
    before = {name: value for name, value in before.items() if not name.endswith("@env_args")}
    assert record["encoder"] == json.loads(json.dumps(encoder.spec.to_dict()))
    for name, value in before.items():
        if name.endswith("_image"):
            assert name not in after
            new = after.pop(name.replace("_image", "_embedding"))
            expected = encoder(value).numpy()
            assert new.dtype == np.float32
            np.testing.assert_allclose(new, expected, rtol=0, atol=1e-5)
        else:
            assert np.array_equal(after.pop(name), value), name
    assert after == {}
    assert list(out.parent.iterdir()) == [out]


def test_a_policy_sees_the_same_from_the_file_and_in_the_network(tmp_path, encoder) -> None:
    source, out = write(tmp_path / "in.hdf5"), tmp_path / "out.hdf5"
    cache_embeddings(source, out, encoder)
    core = S2Core(
        (3, SIZE, SIZE), backbone="random/vitt16-128", runtime="eager", scales=[1], readout="mean"
    )
    frames = everything(source)["data/demo_0/obs/front_image"]
    images = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    stored = everything(out)["data/demo_0/obs/front_embedding"]
    np.testing.assert_allclose(core(images).numpy(), stored, rtol=0, atol=1e-5)


def test_a_stopped_call_goes_on_where_it_was(tmp_path, encoder, monkeypatch) -> None:
    source, out = write(tmp_path / "in.hdf5"), tmp_path / "out.hdf5"
    whole = tmp_path / "whole.hdf5"
    cache_embeddings(source, whole, encoder)
    original = cache._Work._episode

    def stop_at_the_second(self: Any, given: Any, file: Any, name: str, number: int) -> None:
        if number == 1:
            file.create_group(name)  # a part of it was written
            raise KeyboardInterrupt
        original(self, given, file, name, number)

    monkeypatch.setattr(cache._Work, "_episode", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        cache_embeddings(source, out, encoder)
    assert not out.exists()
    monkeypatch.undo()
    found = cache_embeddings(source, out, encoder)
    assert found.frames == 2 * (STEPS + 1)  # of one episode
    one, other = everything(out), everything(whole)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_another_encoder_does_not_go_on_with_a_partial_file(tmp_path, encoder, monkeypatch) -> None:
    source, out = write(tmp_path / "in.hdf5"), tmp_path / "out.hdf5"
    options: dict[str, Any] = {**OPTIONS, "readout": "cls"}
    other = FrameEncoder.from_name("random/vitt16-128", **options)
    original = cache._Work._episode

    def stop_at_the_second(self: Any, given: Any, file: Any, name: str, number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt
        original(self, given, file, name, number)

    for changed in ({"encoder": other}, {"keep_images": True}, {"cameras": ["front"]}):
        monkeypatch.setattr(cache._Work, "_episode", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            cache_embeddings(source, out, encoder)
        monkeypatch.undo()
        asked: dict[str, Any] = {"encoder": encoder, **changed}
        found = cache_embeddings(source, out, **asked)
        assert found.frames == 2 * len(found.keys) * (STEPS + 1)  # of both episodes
        stored = everything(out)["data/demo_0/obs/front_embedding"]
        frames = everything(source)["data/demo_0/obs/front_image"]
        expected = asked["encoder"](frames).numpy()
        np.testing.assert_allclose(stored, expected, rtol=0, atol=1e-5)
        out.unlink()
    (tmp_path / "second.hdf5.partial").write_bytes(b"cut off")
    assert cache_embeddings(source, tmp_path / "second.hdf5", encoder).frames == 4 * (STEPS + 1)


def test_cameras_and_images_by_choice(tmp_path, encoder) -> None:
    source, out = write(tmp_path / "in.hdf5"), tmp_path / "out.hdf5"
    found = cache_embeddings(source, out, encoder, cameras=["wrist"], keep_images=True)
    assert found.keys == ("wrist_embedding",)
    names = everything(out)
    assert {"data/demo_0/obs/wrist_image", "data/demo_0/obs/front_image"} <= names.keys()


def test_pictures_that_are_stored_bottom_up_are_turned(tmp_path, encoder) -> None:
    source, out = write(tmp_path / "in.hdf5", convention="opengl"), tmp_path / "out.hdf5"
    cache_embeddings(source, out, encoder)
    before, after = everything(source), everything(out)
    for part in ("obs", "next_obs"):
        frames = before[f"data/demo_0/{part}/front_image"][:, ::-1]
        stored = after[f"data/demo_0/{part}/front_embedding"]
        np.testing.assert_allclose(stored, encoder(frames.copy()).numpy(), rtol=0, atol=1e-5)


def test_frames_that_are_too_small_are_told(tmp_path, encoder) -> None:
    source = write(tmp_path / "in.hdf5")
    with pytest.warns(SmallFrameWarning, match="40 x 40 px are smaller than the 128 px"):
        cache_embeddings(source, tmp_path / "out.hdf5", encoder)


def test_an_approximate_runtime_is_refused(tmp_path, encoder, monkeypatch) -> None:
    monkeypatch.setattr(type(encoder.runtime), "exact", False)
    with pytest.raises(ValueError, match="approximate"):
        cache_embeddings(write(tmp_path / "in.hdf5"), tmp_path / "out.hdf5", encoder)


def test_bad_input(tmp_path, encoder) -> None:
    source = write(tmp_path / "in.hdf5")
    with pytest.raises(ValueError, match=r"unknown camera .*'top'; available: front_image"):
        cache_embeddings(source, tmp_path / "out.hdf5", encoder, cameras=["top"])
    with pytest.raises(FileExistsError, match="exists; delete it"):
        cache_embeddings(source, source, encoder)
    with pytest.raises(FileNotFoundError, match="is no file; give a robomimic file"):
        cache_embeddings(tmp_path / "missing.hdf5", tmp_path / "out.hdf5", encoder)
    with h5py.File(source, "a") as file:
        for episode in ("demo_0", "demo_10"):
            for name in ("front_image", "wrist_image"):
                del file[f"data/{episode}/obs/{name}"]
    with pytest.raises(ValueError, match="has no images"):
        cache_embeddings(source, tmp_path / "out.hdf5", encoder)
    source.write_bytes(b"no HDF5")
    with pytest.raises(CorruptFileError, match="cannot be read as HDF5"):
        cache_embeddings(source, tmp_path / "out.hdf5", encoder)
    assert not (tmp_path / "out.hdf5").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write(tmp_path / "in.hdf5"), tmp_path / "out.hdf5"
    words = ["robomimic-cache", str(source), str(out), "--encoder", "random/vitt16-128"]
    options = ["--scales", "[1]", "--readout", "mean", "--runtime", "eager", "--camera", "front"]
    assert main([*words, *options]) == 0
    printed = capsys.readouterr().out
    assert "2 episodes, 8 frames encoded, 192 numbers each" in printed.replace("\n", " ")
    assert '"low_dim": ["front_embedding", "pos"]' in printed.replace("\n", " ")
    run: Callable[[], int] = lambda: main([*words, *options])  # noqa: E731
    with pytest.raises(SystemExit):
        run()
    assert "exists; delete it" in capsys.readouterr().err
