"""``s2robot encoders``: the table, one card in full, downloading, verifying."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import pytest
import torch
from support.file_server import FileServer
from support.published_files import write_published

from s2robot.analysis.parity.verify import SIZES, seeded_frames
from s2robot.backbones import CARDS, load_backbone
from s2robot.backbones.download.download import Source
from s2robot.cli.encoders import cost, frames_rule
from s2robot.cli.main import main
from s2robot.errors import LicenseWarning


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "home"))
    warnings.simplefilter("ignore", LicenseWarning)


def test_table_names_every_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders"]) == 0
    shown = capsys.readouterr().out
    rows = {line.split()[0] for line in shown.splitlines() if line.strip()}
    assert set(CARDS) <= rows
    assert "…" not in shown  # nothing is cut off
    assert "CC-BY-NC-4.0 $" in shown
    assert "hf/OWNER/MODEL" in shown


def test_names_may_be_searched(capsys: pytest.CaptureFixture[str]) -> None:
    main(["encoders", "--match", "r3m", "--json"])
    cards = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in cards] == ["r3m-resnet18", "r3m-resnet34", "r3m-resnet50"]
    assert cards[0]["preprocessing"]["resize"] == 256
    assert cards[0]["weights"] == "Drive"


def test_one_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "mvp-vits-hoi"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for fact in (
        "num_heads 12",
        "class token after the final norm (384)",
        "the shorter side to 224 px (bicubic; 8 bits), center 224 x 224",
        "minus 0.485 0.456 0.406",
        "m93ynem558jo8vltlads5rcmnahgsyzr.pth",
        "md5:fe6e30",
        "arXiv:2203.06173",
        "(1,2,3) 14 21.7",
    ):
        assert fact in shown


def test_cost_is_that_of_the_loaded_model() -> None:
    backbone = load_backbone("random/vitt16-128")
    row = cost(backbone.card, "1,1.5,2")
    assert row["tiles"] == 1 + 4 + 4
    assert row["parameters"] == backbone.parameters_count
    expected = backbone.gflops(5) + backbone.gflops(4, 96)
    assert row["gflops"] == pytest.approx(expected)
    assert row["embedding_dims"] == {
        "published": 576,
        "cls": 576,
        "mean": 576,
        "spatial_softmax": 64 * 576,
    }


def test_published_gmacs() -> None:
    """The paper's Table: MVP-B 17.5 GMACs at 224, MVP-L 61.6 (at 224; 256 here)."""
    row = cost(CARDS["mvp-vitb-egosoup"], "1,2")
    assert row["gflops"] / 2 == pytest.approx(5 * 17.5, rel=0.01)


def test_rules_in_words() -> None:
    rules = {name: frames_rule(CARDS[name].preprocessing) for name in CARDS}
    assert rules["r3m-resnet18"] == (
        "the shorter side to 256 px (bilinear; floats), center 224 x 224; 224 x 224 unchanged"
    )
    assert rules["d4r-vitb"] == "both sides to 224 px (bilinear, no antialiasing; floats)"
    assert rules["theia-tiny"] == "both sides to 256 px (bicubic; Pillow), center 224 x 224"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mvp-vitb-egosop"], "did you mean 'mvp-vitb-egosoup'"),
        (["verify"], "needs a NAME"),
        (["verify", "s2r-vitt16-128"], "no published file to compare with"),
        (["a", "b"], "one NAME at a time"),
        (["random/vitt16-128", "--scales", "1,0.05"], "less than one cell"),
    ],
)
def test_mistakes(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", *argv]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_scales_that_are_no_numbers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["encoders", "random/vitt16-128", "--scales", "1;2"])
    assert "'1;2' is not a set of scales, such as [1,2,3]" in capsys.readouterr().err


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """R3M's card, its file served from here, with its digest."""
    path = write_published("r3m-resnet18", tmp_path, 18)
    with FileServer({"/r3m.pt": path.read_bytes()}) as server:
        source = Source(server.url("/r3m.pt"))
        card = dataclasses.replace(CARDS["r3m-resnet18"], sources=(source,))
        monkeypatch.setitem(CARDS, "r3m-resnet18", card)
        yield server


@pytest.mark.process
def test_fetch_ahead_then_offline(
    served: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encoders", "fetch", "r3m-resnet18"]) == 0
    assert "11.2 M parameters" in capsys.readouterr().out
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    load_backbone("r3m-resnet18")
    main(["encoders", "--match", "r3m-resnet18", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["weights"] == "here"


@pytest.mark.process
def test_verify_passes_on_a_published_file(
    served: FileServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["encoders", "verify", "r3m-resnet18", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    checks = {check["what"]: check for check in record["checks"]}
    assert checks["strict load"]["passed"]
    assert checks["output, computed anew"]["passed"]
    assert "480x640" in checks["output, computed anew"]["seen"]
    assert checks["digest"]["passed"] is None
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]


@pytest.mark.slow
def test_verify_fails_on_other_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rule for frames that is not the published one, and a digest that is not."""
    path = write_published("r3m-resnet18", tmp_path, 18)
    card = CARDS["r3m-resnet18"]
    wrong = dataclasses.replace(card.preprocessing, interpolation="bicubic")
    source = Source(card.sources[0].url, digest="md5:0123ab")
    monkeypatch.setitem(
        CARDS,
        "r3m-resnet18",
        dataclasses.replace(card, preprocessing=wrong, sources=(source,)),
    )
    assert main(["encoders", "verify", "r3m-resnet18", "--weights", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "FAIL digest: not md5:0123ab" in shown
    assert "FAIL output, computed anew" in shown


def test_verify_says_when_nothing_could_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_published("mcr-resnet50", tmp_path, 50)
    monkeypatch.setattr("s2robot.analysis.parity.verify.published_names", lambda: ())
    assert main(["encoders", "verify", "mcr-resnet50", "--weights", str(path)]) == 3
    assert "no package of its authors" in capsys.readouterr().out


def test_frames_of_verify_are_seeded_and_rich() -> None:
    for size in SIZES:
        frames = seeded_frames(*size)
        assert frames.shape == (2, *size, 3)
        assert (frames == seeded_frames(*size)).all()
        assert frames.std() > 40
