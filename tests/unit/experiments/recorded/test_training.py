"""From a file of demonstrations to a policy and its page."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from support.lerobot_data import need_libraries, small_lerobot
from support.recorded_data import CAMERAS, recorded_arrays, write_robomimic
from support.tiny_models import write_tiny_model

import s2robot
from s2robot.data.datasets.robomimic import RobomimicFile
from s2robot.errors import MismatchError
from s2robot.experiments.config import VariantConfig
from s2robot.experiments.jobs import EvalJob, RunJob, TrainCommand, TrainJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.experiments.recorded.inputs import RecordedInputs
from s2robot.experiments.recorded.training import RecordedPolicy, slug, train_recorded
from s2robot.policies import checkpoint
from s2robot.policies.checkpoint import read_header
from s2robot.policies.config import PolicyConfig
from s2robot.training.config import SearchConfig, TrainConfig

FRONT, WRIST = CAMERAS


def _job(folder: Path, **changes) -> TrainJob:
    card = folder / "tiny.json"
    if not card.exists():
        write_tiny_model(folder)
    data = folder / "reach.hdf5"
    if not data.exists():
        write_robomimic(data, episodes=5, length=7)
    settings = {
        "data": data,
        "encoder": f"file:{card}",
        "scales": (1.0,),
        "device": "cpu",
        "dtype": "float32",
        "runtime": "eager",
        "data_dir": folder / "data",
        **changes,
    }
    return TrainJob(
        VariantConfig(**settings),
        PolicyConfig(hidden=(8,)),
        TrainConfig(epochs=2),
        None,
        runs_dir=folder / "runs",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("recorded")


@pytest.fixture(scope="module")
def trained(folder) -> RecordedPolicy:
    return train_recorded(_job(folder))


def test_the_file_names_cameras_actions_and_their_range_in_training(trained):
    header = read_header(trained.checkpoint)
    cameras = [{"name": name, "height": 32, "width": 32} for name in CAMERAS]
    names = {"robot0_eef_pos": [f"robot0_eef_pos_{i}" for i in range(2)]}
    assert header.frames == {"kind": "recorded", "cameras": cameras, "proprio_names": names}
    space = header.action_space
    actions = np.concatenate([actions for actions, _, _ in list(recorded_arrays(5, 7))[:4]])
    assert np.allclose(space["low"], actions.min(axis=0))
    assert np.allclose(space["high"], actions.max(axis=0))
    assert (space["meaning"], space["control_hz"]) == (["a0", "a1", "a2"], 20)
    assert header.proprio_keys == ("robot0_eef_pos",)  # not the simulator's object


def test_what_only_a_simulator_knows_is_told_and_used_where_it_is_named(folder, capsys):
    train_recorded(_job(folder))
    assert "not used: object, which a simulator alone knows" in capsys.readouterr().out
    inputs = RecordedInputs(_job(folder, low_dim=("object", "robot0_eef_pos")).variant)
    assert (inputs.proprio_keys, inputs.left_out) == (("object", "robot0_eef_pos"), ())


def test_short_names_of_observations_and_cameras_are_those_of_the_data(folder, tmp_path):
    need_libraries()
    data = small_lerobot(tmp_path)
    job = _job(folder, data=data, low_dim=("state",), cameras=("agentview",))
    inputs = RecordedInputs(job.variant)
    assert inputs.proprio_keys == ("observation.state",)
    assert inputs.data.proprio.shape == (24, 2)


def test_channels_of_all_cameras_lie_side_by_side(trained, folder):
    one, both = RecordedInputs(_job(folder, cameras=(WRIST,)).variant), trained
    *grid, channels = one.embedding_shape
    assert read_header(both.checkpoint).embedding_shape == (*grid, 2 * channels)
    whole = RecordedInputs(_job(folder).variant).embeddings().unflatten(1, (*grid, 2 * channels))
    assert np.array_equal(whole[..., channels:].flatten(1), one.embeddings())


def test_a_camera_may_have_scales_of_its_own(folder):
    short = {"cameras": ("agentview", WRIST), "scales": (1.0, 2.0), "readout": "mean"}
    job = _job(folder, **short, camera_scales={"agentview": (1.0,)})
    path = train_recorded(job).checkpoint
    width = RecordedInputs(_job(folder, cameras=(WRIST,), readout="mean").variant).embedding_shape
    header = read_header(path)
    assert [camera.get("scales") for camera in header.frames["cameras"]] == [[1.0], None]
    assert header.embedding_shape == (3 * width[0],)
    policy = s2robot.load_policy(path, device="cpu", runtime="eager")
    frame = np.zeros((32, 32, 3), np.uint8)
    policy.reset()
    assert policy({FRONT: frame, WRIST: frame}, {"robot0_eef_pos": [0, 0]}).shape == (3,)


def test_a_loaded_policy_gives_the_actions_of_the_page_in_their_units(trained):
    policy = s2robot.load_policy(trained.checkpoint, device="cpu", runtime="eager")
    _, positions, frames = list(recorded_arrays(5, 7))[4]
    expected = trained.errors.predicted[0]
    policy.reset()
    for step, (frame, position) in enumerate(zip(frames, positions, strict=True)):
        images = {FRONT: frame, WRIST: frame.swapaxes(0, 1)}
        action = policy(images, {"robot0_eef_pos": position})
        assert np.allclose(action, expected[step], atol=0.05)  # features are stored in float16
    assert expected[:, 2].tolist() == 7 * [7]  # a constant entry keeps its value


def test_the_errors_of_the_page_are_those_of_a_loaded_policy(folder, tmp_path):
    write_robomimic(tmp_path / "reach.hdf5", 6, 7, valid=2)
    trained = train_recorded(_job(tmp_path, encoder="blind"))
    policy = s2robot.load_policy(trained.checkpoint, device="cpu", runtime="eager")
    raw, _ = checkpoint.load_policy(trained.checkpoint)
    errors = []
    for actions, positions, _ in list(recorded_arrays(6, 7))[4:]:
        policy.reset()
        raw.reset(1)
        given = [policy(None, {"robot0_eef_pos": position}) for position in positions]
        errors.append(np.abs(np.stack(given) - actions).mean(axis=0))
        unlimited = raw.act(torch.zeros(1, 0), torch.from_numpy(positions[:1]).float())
        assert abs(float(unlimited[0, 2]) - 7) > 1e-3  # of the network itself
    assert np.allclose(trained.errors.errors, errors, atol=1e-5)
    assert np.array(errors)[:, 0].min() > 0.1
    dx, _, constant = trained.errors.entries
    assert dx.error.estimate == pytest.approx(np.mean(errors, axis=0)[0])
    assert constant.error.estimate == 0
    assert '<td>a2</td><td class="number">0 (0 to 0)</td>' in trained.page.read_text()


def test_the_page_is_self_contained_and_says_that_it_is_no_success_rate(trained):
    page = trained.page.read_text()
    assert "This is no success rate." in page
    text = re.sub(r"(?s)<style.*?</style>|<[^>]+>", "", page)
    assert re.findall(r"[a-z)][.;][\"A-Z][^.]{9}", text) == []  # a space between sentences
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert page.count("data:image/png;base64,") == 1  # of the only held-out episode
    for entry in trained.errors.entries:
        assert f"<td>{entry.name}</td>" in page


def test_the_page_names_episodes_as_the_data_do_and_says_that_they_are_few(trained):
    page = trained.page.read_text()
    assert "Episode demo_4: smallest error of the held-out episodes" in page
    assert "Only 1 episode is held out" in page
    assert "a mask &#39;valid&#39;" in page


def test_observations_and_episodes_in_no_mask_are_told(folder, tmp_path, capsys):
    path = write_robomimic(tmp_path / "reach.hdf5", 6, 4, valid=2)
    with h5py.File(path, "r+") as file:
        del file["mask/train"]
        file["mask/train"] = np.array(["demo_0", "demo_2", "demo_3"], "S8")
        file["data"].attrs["env_args"] = "{}"
    page = train_recorded(_job(tmp_path, encoder="blind")).page.read_text()
    told = capsys.readouterr().out
    for words in ("3 for training, 2 held out", "1 not used, in no mask (demo_1)"):
        assert words in told
        assert words in page
    assert "observations: robot0_eef_pos\n" in told
    assert "control rate: not told by the data, so control_hz of the policy is None" in told
    assert "control_hz of the policy is None" in page


def test_a_policy_takes_the_short_names_of_the_training(folder):
    path = train_recorded(_job(folder, cameras=("agentview",))).checkpoint
    policy = s2robot.load_policy(path, device="cpu", runtime="eager")
    frame, observed = np.full((32, 32, 3), 9, np.uint8), {"robot0_eef_pos": [0.3, 0.4]}
    found = []
    for name in ("agentview", FRONT):
        policy.reset()
        found.append(policy({name: frame}, observed).tolist())
    assert found[0] == found[1]


def test_errors_are_stored_beside_the_policy(trained):
    found = json.loads((trained.checkpoint.parent / "held_out.json").read_text())
    assert found["policy"] == read_header(trained.checkpoint).sha256
    assert "no success rate" in found["measure"]
    assert found["errors_by_episode"] == trained.errors.errors.tolist()


def test_several_seeds_are_trained_and_have_one_page(trained, folder):
    several = train_recorded(_job(folder), seeds=2)
    assert several.checkpoints[0] == trained.checkpoint
    assert [read_header(path).seed for path in several.checkpoints] == [0, 1]
    assert [seed for seed, _ in several.errors.by_seed] == [0, 1]
    own = [each.errors for _, each in several.errors.by_seed]
    assert np.allclose(several.errors.errors, np.mean(own, axis=0))
    assert not np.array_equal(own[0], own[1])
    page = several.page.read_text()
    assert "the 2 training seeds" in page
    assert "<h2>Each training seed</h2>" in page
    assert several.page.parent not in {path.parent for path in several.checkpoints}
    stored = json.loads((several.page.parent / "held_out.json").read_text())
    assert stored["policies"] == [read_header(path).sha256 for path in several.checkpoints]
    assert set(stored["seeds"]) == {"0", "1"}
    assert "do not cover other training seeds" in trained.page.read_text()


def test_seeds_are_of_recorded_data():
    with pytest.raises(ValueError, match=r"`s2robot sweep` .*seed=0,1,2"):
        TrainCommand(seeds=5)


def test_a_repeated_command_decodes_no_frame_and_keeps_the_policy(trained, folder, monkeypatch):
    content = trained.checkpoint.read_bytes()
    monkeypatch.setattr(RobomimicFile, "frames", None)
    again = train_recorded(_job(folder))
    assert again.checkpoint.read_bytes() == content
    assert again.errors.to_dict() == trained.errors.to_dict()


@pytest.mark.usefixtures("trained")
def test_a_policy_of_one_camera_takes_the_features_that_are_there(folder, monkeypatch):
    monkeypatch.setattr(RobomimicFile, "frames", None)
    assert RecordedInputs(_job(folder, cameras=("agentview",)).variant).embeddings().shape[0] == 35


def test_the_search_sees_no_held_out_episode(folder):
    inputs = RecordedInputs(_job(folder).variant)
    seen = inputs.tuning_data
    used = [*seen.train_episodes.tolist(), *seen.valid_episodes.tolist()]
    assert sorted(used) == inputs.split.train.tolist()


def test_a_search_chooses_hyperparameters(folder):
    search = SearchConfig(trials=2, epochs=1)
    job = dataclasses.replace(_job(folder, cameras=(FRONT,)), search=search)
    assert len(read_header(train_recorded(job).checkpoint).head["trials"]) == 2


def test_a_blind_policy_and_one_without_observations_are_trained(folder, tmp_path):
    blind = train_recorded(_job(folder, encoder="blind"))
    assert read_header(blind.checkpoint).frames == {}
    write_robomimic(tmp_path / "reach.hdf5", 3, 4, observations=False)
    path = train_recorded(_job(tmp_path, cameras=(FRONT,))).checkpoint
    policy = s2robot.load_policy(path, device="cpu", runtime="eager")
    policy.reset()
    assert policy(np.zeros((32, 32, 3), np.uint8)).shape == (3,)


def test_a_blind_policy_without_observations_is_refused(tmp_path):
    write_robomimic(tmp_path / "reach.hdf5", observations=False)
    with pytest.raises(ValueError, match="a blind policy has nothing to read"):
        RecordedInputs(_job(tmp_path, encoder="blind").variant)


def test_other_data_give_another_policy(trained, folder, tmp_path):
    write_robomimic(tmp_path / "reach.hdf5", 5, 7, valid=2)
    other = train_recorded(dataclasses.replace(_job(tmp_path), runs_dir=folder / "runs"))
    assert other.checkpoint != trained.checkpoint


def test_a_head_trained_in_bfloat16_has_a_file_of_its_own_that_says_so(folder, trained, capsys):
    def of(dtype):
        train = dataclasses.replace(_job(folder).train, dtype=dtype)
        return train_recorded(dataclasses.replace(_job(folder), train=train)).checkpoint

    assert of("float32") == trained.checkpoint
    assert read_header(trained.checkpoint).train["dtype"] == "float32"
    assert "bfloat16" not in capsys.readouterr().out
    low = of("bfloat16")
    assert low != trained.checkpoint
    assert read_header(low).train["dtype"] == "bfloat16"
    assert "in bfloat16, with weights in float32" in capsys.readouterr().out


def test_rollouts_of_a_recorded_policy_are_refused(trained):
    with pytest.raises(MismatchError, match=r"recorded actions \(a0, a1, a2\).*your own loop"):
        evaluate_policy(EvalJob(trained.checkpoint))


def test_a_sweep_on_recorded_data_is_refused(folder):
    with pytest.raises(ValueError, match="no simulator for rollouts; `s2robot train data=PATH`"):
        RunJob(_job(folder))


def test_a_file_without_images_is_refused_with_what_to_do(tmp_path):
    write_robomimic(tmp_path / "reach.hdf5", images=False)
    with pytest.raises(ValueError, match=r"no camera.*demos.path=.*dataset_states_to_obs"):
        RecordedInputs(_job(tmp_path).variant)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"data": None, "low_dim": ("grip",)}, "low_dim is .* there is no data"),
        ({"level": "easy"}, "level is of tasks with a simulator"),
        ({"control": "joint_delta"}, "control is of tasks with a simulator"),
        ({"encoder": "privileged_state"}, "the baseline for them is blind"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, settings, why):
    with pytest.raises(ValueError, match=why):
        _job(tmp_path, **settings)


def test_the_folder_has_the_name_of_the_data_and_an_older_one_goes_on(folder, tmp_path):
    job = dataclasses.replace(_job(folder), runs_dir=tmp_path)
    path = train_recorded(job).checkpoint
    assert path.parent.name.startswith("recorded_reach_")
    older = path.parent.with_name(path.parent.name.replace("recorded_reach_", "recorded_"))
    path.parent.rename(older)
    times = (older / "policy.safetensors").stat().st_mtime_ns
    assert train_recorded(job).checkpoint == older / "policy.safetensors"
    assert (older / "policy.safetensors").stat().st_mtime_ns == times
    assert len(list((tmp_path / "cells").iterdir())) == 1


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("data/lift ph.hdf5", "lift-ph"),
        ("lerobot/pusht_v3.0", "pusht-v3.0"),
        ("run.mcap", "run"),
        ("[x]", "x"),
        ("/", ""),
        ("a" * 90, "a" * 32),
    ],
)
def test_a_data_set_has_a_short_name_for_files(data, name):
    assert slug(data) == name


def test_the_present_folder_has_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "bags").mkdir()
    monkeypatch.chdir(tmp_path / "bags")
    assert slug(".") == "bags"
