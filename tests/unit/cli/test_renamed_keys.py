"""Old keys, values and flags of the command line still work, with a warning."""

from __future__ import annotations

import warnings

import pytest

from s2robot.cli.main import main
from s2robot.cli.renamed_keys import FLAGS, KEYS, VALUES, with_new_flags, with_new_keys
from s2robot.cli.verbs import VERBS


@pytest.mark.parametrize("old, new", KEYS.items())
def test_old_keys_become_new_ones(old: str, new: str) -> None:
    with pytest.warns(FutureWarning, match=f"{old}= is now called {new}="):
        assert with_new_keys(["seed=0", f"{old}=[5,11]"]) == ["seed=0", f"{new}=[5,11]"]


@pytest.mark.parametrize(
    "key, old, new", [(k, *pair) for k in VALUES for pair in VALUES[k].items()]
)
def test_old_values_become_new_ones_wherever_they_stand(key: str, old: str, new: str) -> None:
    with pytest.warns(FutureWarning, match=f"{key}={old} is now called {key}={new}"):
        assert with_new_keys([f"{key}=s2r-vitt16-128,{old}"]) == [f"{key}=s2r-vitt16-128,{new}"]


@pytest.mark.parametrize("old, new", FLAGS.items())
def test_old_flags_become_new_ones(old: str, new: str) -> None:
    with pytest.warns(FutureWarning, match=f"{old} is now called {new}"):
        assert with_new_flags([old, "5", f"{old}=11"]) == [new, "5", f"{new}=11"]


def test_new_names_pass_without_a_warning() -> None:
    overrides = ["layers=[5]", "encoder=blind", "policy=mlp", "taps", "train.lr=0.1"]
    flags = ["--layers", "5", "taps", "--target-layer=-1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_new_keys(overrides) == overrides
        assert with_new_flags(flags) == flags


def test_a_file_named_like_an_old_value_is_left_alone() -> None:
    assert with_new_keys(["out=none", "demos.path=state"]) == ["out=none", "demos.path=state"]


@pytest.mark.parametrize(
    "argv",
    [
        ["probe", "--tap", "x"],
        ["reconstruct", "--target", "a", "--source", "b", "--target-tap", "x"],
        ["export", "random/vitt16-128", "--out", "x.onnx", "--taps", "x"],
    ],
)
def test_commands_take_the_old_flags(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The new flag refuses the value: so the old one has reached it."""
    old = argv[-2]
    with pytest.warns(FutureWarning, match=f"{old} is now called"), pytest.raises(SystemExit):
        main(argv)
    assert f"error: {FLAGS[old]}" in capsys.readouterr().err


def test_old_keys_have_new_ones_that_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    main(["features", "--help"])
    shown = capsys.readouterr().out
    assert all(f"{new}=" in shown for new in KEYS.values())
    assert VERBS["features"].hydra
