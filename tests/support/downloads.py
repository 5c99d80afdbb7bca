"""Helpers of the download tests: one file of a million bytes, offered by a local server."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from s2robot.backbones.download.download import download
from s2robot.backbones.weight_sources import Source
from s2robot.errors import DownloadError
from support.file_server import FileServer

DATA = np.random.default_rng(0).bytes(1_000_000)
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"
HUB_URL = "hf:lab/encoder/weights/vit.safetensors"


def get(folder: Path, *sources: Source | str) -> Path:
    made = [source if isinstance(source, Source) else Source(source) for source in sources]
    return download(made, folder, "vit.pth", progress=False)


def problem(folder: Path, *sources: Source | str) -> str:
    """The message of a download that fails, which must leave nothing under the final name."""
    with pytest.raises(DownloadError) as caught:
        get(folder, *sources)
    assert not (folder / "vit.pth").exists()
    return str(caught.value)


def visible(folder: Path) -> list[str]:
    """Names in ``folder`` but for the locks."""
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


def break_off(server: FileServer, folder: Path, after: int, *sources: Source | str) -> None:
    """Leave the first ``after`` bytes of /vit.pth behind, as a killed process does."""
    server.cut("/vit.pth", after)
    server.fail("/vit.pth", 404)
    problem(folder, *(sources or [server.url("/vit.pth")]))
    assert (folder / "vit.pth.part").read_bytes() == DATA[:after]
    server.requests.clear()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("nets/", b"")
        for name, data in members.items():
            archive.writestr(f"nets/{name}.pth", data)
    return buffer.getvalue()
