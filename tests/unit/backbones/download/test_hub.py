"""Files of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import pytest
from support.downloads import DATA, HUB_URL, SHA256, get, problem, visible, zipped
from support.file_server import FileServer

from s2robot.backbones.weight_sources import Source


def test_the_hub_keeps_its_files(hub: FileServer, folder: Path, tmp_path: Path) -> None:
    path = get(folder, Source(HUB_URL, SHA256))
    assert path.read_bytes() == DATA
    assert tmp_path / "hub" in path.parents
    assert not folder.exists()
    assert get(folder, Source(HUB_URL, SHA256)) == path
    assert [r.status for r in hub.requests if r.method == "GET"] == [200]


def test_the_hub_is_the_one_that_the_environment_names_now(
    hub: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    constants = huggingface_hub.constants  # what the library saw when it was imported
    monkeypatch.setattr(constants, "ENDPOINT", hub.url("/old"))
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.url("/old/{repo_id}/resolve/{revision}/{filename}"),
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "old"))
    path = get(folder, HUB_URL)
    assert path.read_bytes() == DATA
    assert tmp_path / "hub" / "hub" in path.parents
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert tmp_path / "cache" in get(folder, HUB_URL).parents


def test_the_hub_gives_a_revision(hub: FileServer, folder: Path) -> None:
    commit = hub.repos["lab/encoder"].commit
    assert get(folder, f"{HUB_URL}@{commit}").parts[-3] == commit


def test_the_hub_gives_archives(hub: FileServer, folder: Path) -> None:
    hub.add_repo("lab/nets", {"nets.zip": zipped(a=DATA)})
    assert get(folder, Source("hf:lab/nets/nets.zip", member="nets/a.pth")).read_bytes() == DATA
    assert visible(folder) == ["vit.pth"]


def test_the_hub_resumes(hub: FileServer, folder: Path) -> None:
    hub.cut("/lab/encoder/resolve/main/weights/vit.safetensors", 300_000)
    assert get(folder, HUB_URL).read_bytes() == DATA


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hf:lab/encoder/other.safetensors", "lab/encoder has no file 'other.safetensors'"),
        ("hf:lab/other/vit.safetensors", "no repository lab/other, or a private one"),
        (f"{HUB_URL}@v2", "lab/encoder has no revision 'v2'"),
        ("hf:lab/a--b/vit.safetensors", "a--b"),
    ],
)
def test_what_the_hub_lacks_is_reported(
    hub: FileServer, folder: Path, url: str, words: str
) -> None:
    assert words in problem(folder, url)


def test_a_gated_repository_needs_its_license_accepted(
    hub: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("lab/gated", {"vit.pth": DATA}, gated=True, token="hf_accepted")
    for token in ("", "hf_other"):  # 401 and 403
        monkeypatch.setenv("HF_TOKEN", token)
        message = problem(folder, "hf:lab/gated/vit.pth")
        assert f"accept the license on {hub.url('/lab/gated')} and set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")
    assert get(folder, "hf:lab/gated/vit.pth").read_bytes() == DATA


def test_the_hub_refusing_access_is_reported_as_gated(hub: FileServer, folder: Path) -> None:
    hub.fail("/lab/encoder/resolve/main/weights/vit.safetensors", 403)
    assert "accept the license" in problem(folder, HUB_URL)


def test_a_wrong_digest_from_the_hub_names_the_file(hub: FileServer, folder: Path) -> None:
    message = problem(folder, Source(HUB_URL, "sha256:000000"))
    assert f"{len(DATA)} bytes came with the sha256 {SHA256[7:]}" in message
    assert "/blobs/" in message
