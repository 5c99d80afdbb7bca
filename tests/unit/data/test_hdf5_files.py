"""Opening of HDF5 files by commands: what is wrong, in plain words and without the library's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.recorded_data import write_robomimic

from s2robot.cli.main import main
from s2robot.data.hdf5_files import open_hdf5
from s2robot.errors import CorruptFileError

_HOLD = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); input()"
INTERNALS = ("Errno", "synchronously", "superblock", "base_addr", "errno =", "Traceback")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A file that another process has open for writing."""
    path = write_robomimic(tmp_path / "held.hdf5")
    words = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield path
        process.kill()


@pytest.mark.process
@pytest.mark.parametrize("setting", ["data", "demos.path"])
def test_a_file_that_is_open_for_writing_elsewhere_is_named_so(
    held: Path, setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", f"{setting}={held}", "encoder=blind"])
    printed = " ".join(capsys.readouterr().err.split())
    assert f"{held} is open for writing elsewhere" in printed
    assert "collect" not in printed
    assert not any(word in printed for word in INTERNALS)


@pytest.mark.parametrize(
    ("keep", "reason"), [(0, "it is empty"), (3000, "it is truncated"), (None, "another kind")]
)
def test_the_reason_is_in_plain_words(tmp_path: Path, keep: int | None, reason: str) -> None:
    path = write_robomimic(tmp_path / "data.hdf5")
    path.write_bytes(b"hello" if keep is None else path.read_bytes()[:keep])
    with pytest.raises(CorruptFileError, match=reason) as error:
        open_hdf5(path)
    assert not any(word in str(error.value) for word in INTERNALS)
