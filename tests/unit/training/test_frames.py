from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.policy_data import make_data

from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import training_windows
from s2robot.policies.policy import Policy
from s2robot.training.frames import DeviceFrames

CONFIG = PolicyConfig(hidden=(8,))
DATA = make_data((5,), episodes=12)
FRAMES = DeviceFrames(DATA, Policy.for_data(CONFIG, DATA), torch.device("cpu"))
WINDOWS = training_windows(CONFIG, DATA, DATA.train_episodes)


def gathered(rows: list[int]) -> torch.Tensor:
    return FRAMES.gather(WINDOWS, torch.tensor(rows))[0]


def expected(rows: list[int]) -> torch.Tensor:
    return FRAMES.embedding[WINDOWS.index[torch.tensor(rows)].flatten()]


def test_batches_of_any_length_are_those_of_their_frames() -> None:
    for rows in ([3, 1, 2], [0], [7, 7, 1, 0, 5], [2, 4]):
        assert torch.equal(gathered(rows), expected(rows))


def test_a_thread_keeps_its_memory() -> None:
    first = gathered([3, 1, 2]).data_ptr()
    assert gathered([0, 1]).data_ptr() == first


def test_frames_that_are_normalized_batch_by_batch_are_so_in_a_threads_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("s2robot.training.precision.PREPARED_BYTES", 0)
    frames = DeviceFrames(DATA, Policy.for_data(CONFIG, DATA), torch.device("cpu"))
    assert not frames.prepared
    first = frames.gather(WINDOWS, torch.tensor([3, 1, 2]))[0]
    assert torch.equal(first, expected([3, 1, 2]))
    second = frames.gather(WINDOWS, torch.tensor([0, 4]))[0]
    assert second.data_ptr() == first.data_ptr()
    assert torch.equal(second, expected([0, 4]))


def test_threads_do_not_share_memory() -> None:
    own = gathered([3, 1, 2])
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(gathered, [4, 5, 6]).result()
    assert torch.equal(own, expected([3, 1, 2]))
    assert torch.equal(other, expected([4, 5, 6]))
