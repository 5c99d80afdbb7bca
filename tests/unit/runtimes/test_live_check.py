"""Live tiles against calibrated ranges: counts, one warning, and what does not count."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from s2robot.errors import CalibrationWarning
from s2robot.runtimes.live_check import LiveCheck, Ranges

INSIDE = torch.linspace(-1, 1, 4 * 5 * 8).reshape(4, 5, 8)


def tokens_of(count: int, odd: int) -> Tensor:
    """Tokens of ``count`` tiles, the first ``odd`` of which lie outside."""
    tokens = INSIDE[:1].expand(count, -1, -1).clone()
    tokens[:odd] += 3
    return tokens


def tiles_of(count: int) -> Tensor:
    return torch.arange(count * 3 * 16.0).reshape(count, 3, 4, 4) % 251


def check(usual: float = 0.0) -> LiveCheck:
    ranges = Ranges.of(INSIDE)
    return LiveCheck(ranges, usual, lambda share, count: f"{share:.0%} of {count}")


def warned(live: LiveCheck, tiles: Tensor, tokens: Tensor) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        live(tiles, tokens)
    assert all(each.category is CalibrationWarning for each in found)
    return [str(each.message) for each in found]


def test_the_share_outside_is_counted_by_channel() -> None:
    ranges = Ranges.of(torch.tensor([[[0.0, 10.0], [1.0, 11.0]]]))
    tokens = torch.tensor([[[0.5, 10.5], [1.0, 11.0]], [[10.5, 0.5], [0.5, 10.5]]])
    assert ranges.outside(tokens).tolist() == [0.0, 0.5]


def test_ranges_are_read_as_they_were_saved(tmp_path: Path) -> None:
    ranges = Ranges.of(INSIDE)
    ranges.save(tmp_path / "ranges.safetensors")
    loaded = Ranges.load(tmp_path / "ranges.safetensors")
    assert torch.equal(loaded.low, ranges.low)
    assert torch.equal(loaded.high, ranges.high)


def test_tiles_within_the_ranges_give_no_warning() -> None:
    live = check()
    assert not any(warned(live, tiles_of(20), tokens_of(20, 5)) for _ in range(20))


def test_tiles_out_of_the_ranges_give_one_warning_with_their_share() -> None:
    live = check()
    assert warned(live, tiles_of(20), tokens_of(20, 8)) == ["40% of 20"]
    assert not any(warned(live, tiles_of(20), tokens_of(20, 20)) for _ in range(20))


def test_single_frames_add_up_to_a_warning() -> None:
    live = check()
    said = [warned(live, tiles_of(1), tokens_of(1, 1)) for _ in range(12)]
    assert said == [[]] * 9 + [["100% of 10"]] + [[]] * 2


def test_a_change_after_a_long_time_is_noticed() -> None:
    live = check()
    for _ in range(50):
        assert not warned(live, tiles_of(100), tokens_of(100, 0))
    assert warned(live, tiles_of(100), tokens_of(100, 60)) == ["60% of 100"]


def test_black_tiles_do_not_count() -> None:
    live = check()
    assert not warned(live, torch.zeros(20, 3, 4, 4), tokens_of(20, 20))
    assert warned(live, tiles_of(20), tokens_of(20, 20)) == ["100% of 20"]


@pytest.mark.parametrize("usual, expected", [(0.0, ["100% of 20"]), (0.5, [])])
def test_what_the_calibrations_own_frames_do_is_no_reason_to_warn(
    usual: float, expected: list[str]
) -> None:
    tokens = tokens_of(20, 0)
    tokens[:, 0] += 3  # a fifth of the values
    assert warned(check(usual), tiles_of(20), tokens) == expected
