"""robomimic's own training by our command: what it writes, what it leaves, what it refuses."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from support.recorded_data import write_robomimic
from support.robomimic_configs import TINY_CORE, bc, merged, write_config

from s2robot import FrameEncoder
from s2robot.cli.main import main
from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.plugins.robomimic.cache import cache_embeddings
from s2robot.plugins.robomimic.checkpoints import read_checkpoint, trained_bottom_up
from s2robot.plugins.robomimic.configuration import (
    BOTTOM_UP,
    ActionRangeWarning,
    NothingSavedWarning,
    UpsideDownWarning,
)
from s2robot.plugins.robomimic.training import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::s2robot.plugins.robomimic.core.SmallFrameWarning"),
    pytest.mark.filterwarnings(
        "ignore::s2robot.plugins.robomimic.configuration.ActionRangeWarning"
    ),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_robomimic(tmp_path_factory.mktemp("data") / "reach.hdf5")


def loaded(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def test_the_command_trains_and_says_where_the_checkpoint_is(data, tmp_path, capsys) -> None:
    config = write_config(tmp_path / "bc.json", bc(data, tmp_path / "runs"))
    assert main(["robomimic-train", "--config", str(config)]) == 0
    (run,) = (tmp_path / "runs/tiny").iterdir()
    checkpoint = run / "models/model_epoch_2.pth"
    assert capsys.readouterr().out.splitlines()[-1] == f"the last one: {checkpoint}"
    found = loaded(checkpoint)
    assert found["algo_name"] == "bc"
    weights = {name: value for name, value in found["model"].items() if torch.is_tensor(value)}
    assert sum(value.numel() for value in weights.values()) < 5000  # of a backbone: 5.5 million
    (state,) = [value for name, value in found["model"].items() if name not in weights]
    assert json.loads(state["spec"])["backbone"] == "random/vitt16-128"
    assert "weights" not in state
    assert "Train Epoch 2" in (run / "logs/log.txt").read_text()


def test_the_weights_of_the_backbone_are_saved_by_choice(data, tmp_path) -> None:
    given = bc(data, tmp_path / "runs")
    given["observation"]["encoder"]["rgb"]["core_kwargs"] = {**TINY_CORE, "save_backbone": True}
    found = train(write_config(tmp_path / "bc.json", given))
    model = loaded(found.checkpoints[-1])["model"]
    (state,) = [value for value in model.values() if isinstance(value, dict)]
    assert sum(value.numel() for value in state["weights"].values()) > 5_000_000


def test_a_run_of_the_same_name_is_kept_and_the_process_is_left_as_it_was(
    data, tmp_path, monkeypatch
) -> None:
    kept = tmp_path / "runs/tiny/earlier/models"
    kept.mkdir(parents=True)
    cropped = {"rgb": {"obs_randomizer_class": "ColorRandomizer"}}  # it draws from `random`
    given = bc(data, Path("runs"), observation={"encoder": cropped})
    config = write_config(tmp_path / "bc.json", given)
    monkeypatch.chdir(tmp_path)  # robomimic takes relative folders as those of its own package
    before = torch.get_num_threads(), sys.stdout, sys.stderr
    drawn = [str(np.random.get_state()), random.getstate()]  # noqa: NPY002
    state = torch.get_rng_state()
    found = train(config, epochs=2)
    assert kept.is_dir()
    assert found.folder.parent == (tmp_path / "runs/tiny").resolve()
    assert (torch.get_num_threads(), sys.stdout, sys.stderr) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn == [str(np.random.get_state()), random.getstate()]  # noqa: NPY002
    given = json.loads((found.folder / "config.json").read_text())
    assert given["train"]["num_epochs"] == 2


def test_embeddings_of_a_file_are_trained_on_as_low_dimensional(data, tmp_path) -> None:
    encoder = FrameEncoder.from_name(
        "random/vitt16-128", (1,), "mean", device="cpu", runtime="eager"
    )
    cached = cache_embeddings(data, tmp_path / "embeddings.hdf5", encoder)
    modalities = {"obs": {"low_dim": [*cached.keys, "robot0_eef_pos"], "rgb": []}}
    given = bc(data, tmp_path / "runs", observation={"modalities": modalities})
    found = train(
        write_config(tmp_path / "bc.json", given),
        cached.path,
        name="cached",
        out=tmp_path / "other",
    )
    shapes = loaded(found.checkpoints[-1])["shape_metadata"]["all_shapes"]
    widths = {name: list(shape) for name, shape in shapes.items()}
    assert widths == {**dict.fromkeys(cached.keys, [192]), "robot0_eef_pos": [2]}
    assert found.folder.parent == tmp_path / "other/cached"


def test_actions_out_of_reach_of_the_policy_are_told(data, tmp_path) -> None:
    given = bc(data, tmp_path / "runs", train={"hdf5_filter_key": "none"})
    with (
        pytest.warns(ActionRangeWarning, match=r"reach from -\d.* to \d.*tanh.*\[-1, 1\]"),
        pytest.raises(ValueError, match="mask in train.hdf5_filter_key"),
    ):
        train(write_config(tmp_path / "bc.json", given))


@pytest.fixture
def turned(data, tmp_path) -> Path:
    """Data that say that their images are stored bottom-up."""
    path = tmp_path / "libero.hdf5"
    shutil.copy(data, path)
    opened: Any
    with h5py.File(path, "r+") as opened:
        opened["data"].attrs["macros_image_convention"] = "opengl"
    return path


def test_images_that_are_stored_upside_down_are_told(turned, tmp_path) -> None:
    given = bc(turned, tmp_path / "runs", train={"hdf5_filter_key": "none"})
    with (
        pytest.warns(UpsideDownWarning, match=r"upright: `s2robot export-dataset .*libero\.hdf5"),
        pytest.raises(ValueError, match="mask in train.hdf5_filter_key"),
    ):
        train(write_config(tmp_path / "bc.json", given))


@pytest.mark.filterwarnings("ignore::s2robot.plugins.robomimic.configuration.UpsideDownWarning")
def test_checkpoints_say_that_their_images_were_upside_down(data, turned, tmp_path) -> None:
    config = write_config(tmp_path / "bc.json", bc(turned, tmp_path / "runs"))
    content = read_checkpoint(train(config, epochs=2).checkpoints[-1])
    assert trained_bottom_up(content)
    turned.unlink()
    assert trained_bottom_up(content)  # it says so itself
    del content["env_metadata"][BOTTOM_UP]
    assert not trained_bottom_up(content)  # nothing tells it
    shutil.copy(data, turned)
    assert not trained_bottom_up(content)
    with h5py.File(turned, "r+") as opened:
        opened["data"].attrs["macros_image_convention"] = "opengl"
    assert trained_bottom_up(content)  # the data are there and tell it


def test_a_training_that_would_save_nothing_is_told(data, tmp_path) -> None:
    given = bc(data, tmp_path / "runs", experiment={"save": {"every_n_epochs": 50}})
    with pytest.warns(NothingSavedWarning, match="every_n_epochs is 50.*set it to 2 or less"):
        assert train(write_config(tmp_path / "bc.json", given)).checkpoints == ()


MODALITIES = "observation", "modalities", "obs"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algo_name": "bcc"}, "unknown algo_name in .*'bcc'; available: .*did you mean 'bc'"),
        ({"training": {}}, "unknown entry at the top of .*'training'.*did you mean 'train'"),
        ({"train": {"epochs": 3}}, "unknown entry in train of .*'epochs'.*available: "),
        ({"experiment": {"save": True}}, "experiment.save is True; it is a section with enabled"),
        ({"train": {"data": None}}, "train.data is missing; .*--dataset"),
        ({"train": {"data": "none.hdf5"}}, "train.data is none.hdf5, and there is no such file"),
        ({"train": {"hdf5_filter_key": "tran"}}, "mask in train.hdf5_filter_key .*mean 'train'"),
        ({"experiment": {"validate": True}}, "experiment.validate is true; .*of train, valid"),
        (
            {"observation": {"modalities": {"obs": {"rgb": ["front_image"]}}}},
            "unknown observation in modality rgb for .*'front_image'; available: agentview_image",
        ),
        (
            {"observation": {"modalities": {"obs": {"low_dim": ["agentview_image"]}}}},
            "agentview_image is of modality low_dim, and .* has images",
        ),
        (
            {"observation": {"modalities": {"obs": {"rgb": ["object"]}}}},
            r"object is of modality rgb, and .* has \(6, 2\)",
        ),
        (
            {"observation": {"encoder": {"rgb": {"core_class": "S2Cor"}}}},
            "core_class of rgb 'S2Cor'.*did you mean 'S2Core'.*is known once that is imported",
        ),
        (
            {"observation": {"encoder": {"rgb": {"core_kwargs": {"scale": [1]}}}}},
            "core_kwargs of S2Core has 'scale'.*Did you mean scales",
        ),
        (
            {"observation": {"encoder": {"rgb": {"core_kwargs": {"backbone": "s2r"}}}}},
            "unknown backbone 's2r'; available: .*s2r-vitt16-128",
        ),
        (
            {"algo": {"rnn": {"enabled": True, "horizon": 10}}},
            "train.seq_length is 1 and algo.rnn.horizon 10; .*both must be equal",
        ),
        (
            {"experiment": {"rollout": {"enabled": True}}},
            'environment of .* cannot be made here.*"rollout": {"enabled": false}',
        ),
        ({"train": {"num_epochs": "20"}}, "train.num_epochs is '20'; it is a number, such as"),
        (
            {"observation": {"modalities": {"obs": {"rgb": "front_image"}}}},
            r"modalities.obs.rgb is 'front_image'; it is a list, such as \[\]",
        ),
        ({"train": {"batch_size": 0}}, "batch_size should be a positive integer"),
    ],
)
def test_what_does_not_fit_is_named(data, tmp_path, monkeypatch, changes, message) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path / "bc.json", merged(bc(data, tmp_path / "runs"), changes))
    with pytest.raises((ValueError, OSError, S2RobotError), match=message):
        train(config)
    assert not list(tmp_path.glob("runs/**/*.pth"))


def test_files_that_are_not_what_they_should_be(data, tmp_path, capsys) -> None:
    missing, text, listed = (tmp_path / name for name in ("a.json", "b.json", "c.json"))
    text.write_text("{'algo_name': 'bc'}")
    listed.write_text("[]")
    with pytest.raises(FileNotFoundError, match="a.json is no file; give robomimic's config"):
        train(missing)
    with pytest.raises(ValueError, match="b.json is no JSON: .*line 1"):
        train(text)
    with pytest.raises(ValueError, match='c.json names no algorithm; it must hold "algo_name"'):
        train(listed)
    (tmp_path / "data.hdf5").write_bytes(b"no HDF5")
    config = write_config(tmp_path / "bc.json", bc(tmp_path / "data.hdf5", tmp_path))
    with pytest.raises(CorruptFileError, match="cannot be read as HDF5: it is another kind"):
        train(config)
    assert main(["robomimic-train", "--config", str(missing)]) == 2
    assert "a.json is no file" in capsys.readouterr().err
