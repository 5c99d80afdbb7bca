"""Images of a robomimic file as embeddings: a file that plain robomimic trains on."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from s2robot.data.datasets.robomimic import RobomimicFile, open_robomimic
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.plugins.robomimic.core import warn_of_small_frames
from s2robot.plugins.robomimic.embeddings import RECORD
from s2robot.utils.io import digest_of
from s2robot.utils.progress import progress_bar

SUFFIX = "_embedding"
"""End of the name of an observation that holds a camera's embeddings."""
_OBSERVATIONS = ("obs", "next_obs")
_FINISHED = "s2robot_finished"


@dataclass(frozen=True)
class Cached:
    """What ``cache_embeddings`` wrote."""

    path: Path
    keys: tuple[str, ...]
    """Observations with embeddings, for ``modalities.obs.low_dim``."""
    low_dim: tuple[str, ...]
    """The other low-dimensional observations of the file."""
    episodes: int
    frames: int
    """Frames that this call encoded, of all cameras."""


def cache_embeddings(
    source: str | Path,
    out: str | Path,
    encoder: FrameEncoder,
    cameras: Sequence[str] | None = None,
    keep_images: bool = False,
    batch: int = 64,
) -> Cached:
    """Write a robomimic file with the embeddings of its images as low-dimensional observations.

    ``obs/CAMERA_embedding`` is ``(T, D)`` float32, and ``next_obs`` likewise where the file has it;
    actions, states, masks and all else are copied. OUT appears when it is complete; until then its
    episodes are in OUT.partial, with which a later call goes on.

    Args:
        source: robomimic file with images.
        out: the file to write.
        encoder: frames to embeddings.
        cameras: observations to encode, "_image" at their ends may be left out; None for all.
        keep_images: whether the images that were encoded are copied too.
        batch: frames that are encoded at once.

    Raises:
        CorruptFileError: the file is damaged, or open for writing elsewhere.
        FileExistsError: OUT exists.
        FileNotFoundError: there is no such file.
        ValueError: the file has no images, or no such camera, or the encoder's runtime is
            approximate.
    """
    source, out = Path(source), Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists; delete it, or give another name")
    if not encoder.runtime.exact:
        raise ValueError(
            f"runtime {encoder.runtime.name} is approximate, and the embeddings would go under the "
            "name of the exact encoder; take an exact one, such as auto"
        )
    if not source.is_file():
        raise FileNotFoundError(
            f"{source} is no file; give a robomimic file with images, NAME.hdf5, as IN"
        )
    data = open_robomimic(source, cameras, None)
    try:
        if not data.cameras:
            raise ValueError(
                f"{source} has no images: none of its observations is uint8 (T, height, width, 3). "
                "robomimic's dataset_states_to_obs.py draws them from states"
            )
        for height, width in sorted(set(data.cameras.values())):
            warn_of_small_frames(encoder, height, width)
        work = _Work(data, encoder, keep_images, batch)
        partial = out.with_name(f"{out.name}.partial")
        work.fill(partial)
        partial.replace(out)
        keys = tuple(key_of(camera) for camera in data.cameras)
        low_dim = tuple(data.low_dim_names)
        return Cached(out, keys, low_dim, len(data.episode_ends), work.frames)
    finally:
        data.close()


def key_of(camera: str) -> str:
    """Return the name of the observation with a camera's embeddings.

    Examples:
        >>> key_of("agentview_image")
        'agentview_embedding'
    """
    return camera.removesuffix("_image") + SUFFIX


class _Work:
    """The embeddings of one file, written episode by episode."""

    def __init__(
        self, data: RobomimicFile, encoder: FrameEncoder, keep_images: bool, batch: int
    ) -> None:
        self.data, self.encoder, self.keep_images, self.batch = data, encoder, keep_images, batch
        self.record = {
            "source": data.digest,
            "encoder": encoder.spec.to_dict(),
            "cameras": {key_of(camera): camera for camera in data.cameras},
            "sizes": {key_of(camera): list(size) for camera, size in data.cameras.items()},
        }
        self.frames = 0
        """Number of frames that were encoded."""

    def fill(self, path: Path) -> None:
        """Write the episodes that a partial file lacks, and complete it."""
        names = self.data.episode_names
        with h5py.File(self.data.source, "r") as given, self._partial(path) as file:
            with progress_bar(f"encoding {Path(self.data.source).name}", len(names)) as bar:
                for number, name in enumerate(names):
                    if name not in file or _FINISHED not in file[name].attrs:
                        self._episode(given[name], file, name, number)
                    bar.advance()
            for name in names:
                del file[name].attrs[_FINISHED]
            levels: list[tuple[Any, Any]] = [(given, file), (given["data"], file["data"])]
            for part, target in levels:
                for key in part:
                    if key not in target:
                        part.copy(key, target)
            _copy_attributes(given, file)
            _copy_attributes(given["data"], file["data"])
            file["data"].attrs[RECORD] = json.dumps(self.record)
            _add_to_env_args(file["data"], self.record)
            del file.attrs[RECORD]

    def _partial(self, path: Path) -> Any:
        """Open a partial file of the same work, or begin a new one."""
        asked = digest_of([self.record, self.keep_images])
        with contextlib.suppress(OSError):  # none is there, or it was cut off in mid-write
            file: Any = h5py.File(path, "r+")
            if file.attrs.get(RECORD) == asked:
                return file
            file.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        file = h5py.File(path, "w")
        file.attrs[RECORD] = asked
        file.create_group("data")
        return file

    def _episode(self, given: Any, file: Any, name: str, number: int) -> None:
        """Copy an episode, and encode its images."""
        if name in file:
            del file[name]
        group = file.create_group(name)
        _copy_attributes(given, group)
        for key in given:
            if key not in _OBSERVATIONS:
                given.copy(key, group)
        for part in (part for part in _OBSERVATIONS if part in given):
            target = group.create_group(part)
            for key in given[part]:
                if key not in self.data.cameras or self.keep_images:
                    given[part].copy(key, target)
        for camera in self.data.cameras:
            found = self._embeddings(self.data.frames(camera, number))
            group["obs"][key_of(camera)] = found
            if "next_obs" in given and camera in given["next_obs"]:
                following = self._following(given, camera, found)
                group["next_obs"][key_of(camera)] = following
        group.attrs[_FINISHED] = True
        file.flush()

    def _following(self, given: Any, camera: str, found: np.ndarray) -> np.ndarray:
        """Return embeddings of next observations; most of them are the next row's."""
        frames, following = given["obs"][camera], given["next_obs"][camera]
        rows = np.concatenate([found[1:], found[-1:]])
        others = [
            row
            for row in range(len(rows))
            if row + 1 == len(rows) or not np.array_equal(frames[row + 1], following[row])
        ]
        step = -1 if self.data.bottom_up else 1
        rows[others] = self._embeddings(following[row][::step] for row in others)
        return rows

    def _embeddings(self, frames: Iterable[np.ndarray]) -> np.ndarray:
        """Return the embeddings ``(n, D)`` float32 of frames."""
        rest, parts = iter(frames), []
        while chunk := list(itertools.islice(rest, self.batch)):
            parts.append(self.encoder(np.stack(chunk)).cpu().numpy())
            self.frames += len(chunk)
        return np.concatenate(parts)


def _add_to_env_args(data: Any, record: dict[str, Any]) -> None:
    """Add what computes the embeddings where robomimic copies it to each checkpoint."""
    with contextlib.suppress(KeyError, TypeError, ValueError):  # a file without, which it refuses
        described = json.loads(data.attrs["env_args"])
        data.attrs["env_args"] = json.dumps({**described, RECORD: record})


def _copy_attributes(given: Any, target: Any) -> None:
    for key, value in given.attrs.items():
        target.attrs[key] = value
