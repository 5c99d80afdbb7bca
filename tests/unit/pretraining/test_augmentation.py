"""Random crops of frames: reproducible, shared between processes, at the scales of S² tiles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from s2robot.pretraining.augmentation import CropConfig, CropSampler
from s2robot.pretraining.frame_dataset import FrameDataset, write_shard
from s2robot.utils.distributed import ALONE, DistributedContext

EVERY_SCALE = CropConfig()


def sampler(dataset, *, seed=0, batch=4, context=ALONE, config=EVERY_SCALE) -> CropSampler:
    return CropSampler(dataset, 32, config, seed, batch, context)


def test_crops_depend_on_seed_and_step_only(dataset):
    crops = sampler(dataset)[3][0]
    assert torch.equal(crops, sampler(dataset)[3][0])
    assert not torch.equal(crops, sampler(dataset)[4][0])
    assert not torch.equal(crops, sampler(dataset, seed=1)[3][0])
    assert crops.shape == (4, 3, 32, 32)
    assert crops.dtype == torch.uint8


def test_a_dataset_travels_to_other_processes_without_its_frames(dataset):
    assert len(pickle.dumps(dataset)) < 2000
    assert np.array_equal(pickle.loads(pickle.dumps(dataset))[3], dataset[3])


def test_processes_share_the_crops(dataset):
    whole = sampler(dataset, batch=6)[5][0]
    parts = [
        sampler(dataset, batch=6, context=DistributedContext(rank, 2))[5][0] for rank in range(2)
    ]
    assert torch.equal(parts[0], whole[0::2])
    assert torch.equal(parts[1], whole[1::2])
    assert torch.equal(DistributedContext(1, 2).share(whole), parts[1])


def test_crops_span_the_share_of_the_frame_that_their_scale_says(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 240, 96)[None, :, None], (96, 96, 3)).astype(np.uint8)
    write_shard(tmp_path / "ramp.npy", [ramp], (1, 96, 96, 3))
    dataset = FrameDataset([tmp_path / "ramp.npy"])
    for scale in (1.0, 3.0):
        config = CropConfig(scales=(scale,), weights=(1.0,), jitter=0.0, flip=0.0)
        crops = sampler(dataset, batch=8, config=config)[0][0].float()
        spans = crops.amax(dim=(1, 2, 3)) - crops.amin(dim=(1, 2, 3))
        assert spans.mean().item() == pytest.approx(240 / scale, rel=0.1)


def test_scales_are_drawn_with_their_weights(dataset):
    config = CropConfig(scales=(1.0, 3.0), weights=(0.0, 1.0), jitter=0.0)
    only = CropConfig(scales=(3.0,), weights=(1.0,), jitter=0.0)
    assert torch.equal(sampler(dataset, config=config)[0][0], sampler(dataset, config=only)[0][0])


def test_segments_are_cut_and_flipped_with_their_crops(tmp_path):
    classes = np.zeros((96, 96), dtype=np.uint8)
    classes[:, 40:] = 2
    classes[60:, :50] = 5
    frame = np.repeat(classes[..., None] * 50, 3, axis=2)  # its color tells its class
    write_shard(tmp_path / "f.npy", [frame], (1, 96, 96, 3))
    write_shard(tmp_path / "s.npy", [classes[::2, ::2]], (1, 48, 48))
    dataset = FrameDataset([tmp_path / "f.npy"], [tmp_path / "s.npy"])
    crops, segments = CropSampler(dataset, 32, EVERY_SCALE, 0, 64, cells=16)[0]
    seen = torch.nn.functional.avg_pool2d(crops[:, :1].float(), 2)[:, 0] / 50
    agree = (seen - segments).abs() < 0.5
    assert segments.shape == (64, 16, 16)
    assert {0, 2, 5} <= set(segments.unique().tolist())
    assert agree.float().mean() > 0.93  # all but cells on an edge


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"weights": (0.0, 0.0, 0.0)}, "nor all zero"),
        ({"weights": (1.0,)}, "must have the same length"),
        ({"jitter": 1.0}, "jitter"),
        ({"flip": 2.0}, "flip"),
    ],
)
def test_wrong_crops_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CropConfig(**settings)
