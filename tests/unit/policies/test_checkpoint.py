from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.damage import attempt, damaged_bytes, mutations
from support.policy_data import make_data

from s2robot.errors import CorruptFileError, MismatchError
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.checkpoint import (
    FORMAT,
    PolicyHeader,
    action_space_record,
    check_action_space,
    load_policy,
    read_header,
    recorded_action_space,
    save_policy,
)
from s2robot.policies.config import KINDS, PolicyConfig
from s2robot.policies.policy import Policy


def box(dim: int, high: float = 1.0) -> Box:
    return Box(-high, high, (dim,), np.float32)


def make_header(policy: Policy) -> PolicyHeader:
    return PolicyHeader(
        policy_config=policy.config,
        encoder={"backbone": "random/vitt16-128", "scales": [1, 2]},
        embedding_shape=policy.embedding_shape,
        proprio_keys=("ee_pos", "gripper_width"),
        action_space=action_space_record(box(policy.action_dim), "ee_delta", 5.0),
        env_kwargs={"level": "precise"},
        frames={"camera": "far", "size": 384},
        demos_digest="d" * 64,
        train={"epochs": 60},
        seed=3,
        head={},
        provenance={"versions": {"torch": "2"}},
    )


@pytest.fixture
def policy() -> Policy:
    config = PolicyConfig(kind="gmm", hidden=(8,), keypoints=3, keypoint_features=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy.for_data(config, make_data())


@pytest.fixture
def saved(policy: Policy, tmp_path: Path) -> Path:
    save_policy(tmp_path / "policy.safetensors", policy, make_header(policy))
    return tmp_path / "policy.safetensors"


def rewrite(
    path: Path, change_header: dict | None = None, change_weights: dict | None = None
) -> None:
    """Write the file again with other header values or weights, its stated digest kept."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[FORMAT])
    tensors = {**load_file(path), **(change_weights or {})}
    metadata = {FORMAT: json.dumps({**header, **(change_header or {})})}
    save_file(tensors, path, metadata=metadata)


def test_round_trip_acts_the_same(policy: Policy, saved: Path) -> None:
    loaded, header = load_policy(saved)
    assert dataclasses.replace(header, sha256="") == dataclasses.replace(
        make_header(policy), provenance=header.provenance
    )
    assert read_header(saved) == header
    assert header.level == "precise"
    data = make_data()
    for each in (policy, loaded):
        each.reset(4)
    embedding, proprio = data.embedding[:4], data.proprio[:4]
    assert torch.equal(policy.act(embedding, proprio), loaded.act(embedding, proprio))


def test_the_same_policy_gives_the_same_file(policy: Policy, saved: Path, tmp_path: Path) -> None:
    save_policy(tmp_path / "again.safetensors", policy, make_header(policy))
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_truncated_file(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(CorruptFileError, match="not a whole safetensors file"):
        load_policy(saved)


def test_foreign_file(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptFileError, match="but not a policy.*found .'format'"):
        load_policy(tmp_path / "other.safetensors")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="s2robot train"):
        load_policy(tmp_path / "none.safetensors")


def test_other_format_version(saved: Path) -> None:
    rewrite(saved, {"version": 99})
    with pytest.raises(MismatchError, match="version 99.*reads version 1"):
        load_policy(saved)


@pytest.mark.parametrize("header", [{"seed": 4}, {"env_kwargs": {"level": "easy"}}])
def test_tampered_header(saved: Path, header: dict) -> None:
    rewrite(saved, header)
    with pytest.raises(CorruptFileError, match="was altered"):
        load_policy(saved)


@pytest.mark.parametrize("header", [{"surplus": 1}, {"policy_config": {"kind": "x"}}])
def test_header_of_another_shape(saved: Path, header: dict) -> None:
    rewrite(saved, header)
    with pytest.raises(CorruptFileError, match=r"the header of .* is damaged .*train again"):
        load_policy(saved)


def test_every_damage_of_the_header_is_an_error(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        header = json.loads(file.metadata()[FORMAT])
    tensors, whole = load_file(saved), read_header(saved)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    for damage, content in mutations(header):
        save_file(tensors, saved, metadata={FORMAT: json.dumps(content)})
        loaded, message = attempt(lambda: load_policy(saved)[1], CorruptFileError, MismatchError)
        assert loaded == whole or str(saved) in message, damage
        found, message = attempt(lambda: read_header(saved), CorruptFileError, MismatchError)
        if found is None:
            assert loaded is None, damage
            assert str(saved) in message, damage
        else:  # it is not verified, but can be used
            assert isinstance(found.encoder["backbone"], str), damage
            assert found.level is None or found.env_kwargs, damage
            assert len(found.action_space["low"]) == found.action_space["dim"], damage


def test_every_damage_of_the_file_is_an_error(saved: Path) -> None:
    data = saved.read_bytes()
    for damage, content in damaged_bytes(data):
        saved.write_bytes(content)
        for read in (load_policy, read_header):
            _, message = attempt(lambda read=read: read(saved), CorruptFileError)
            assert str(saved) in message, damage


def test_tampered_weights(policy: Policy, saved: Path) -> None:
    name, weight = next(iter(policy.state_dict().items()))
    rewrite(saved, change_weights={name: weight + 1e-3})
    with pytest.raises(CorruptFileError, match="was altered"):
        load_policy(saved)


def test_nan_weights_are_neither_saved_nor_loaded(
    policy: Policy, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()
    with torch.no_grad():
        policy.proprio_normalizer.mean[0] = torch.nan
    with pytest.raises(ValueError, match="are NaN or infinite"):
        save_policy(saved, policy, make_header(policy))
    assert saved.read_bytes() == before
    monkeypatch.setattr("s2robot.policies.checkpoint._not_finite", lambda tensors: [])
    save_policy(saved, policy, make_header(policy))
    monkeypatch.undo()
    with pytest.raises(CorruptFileError, match="are NaN or infinite"):
        load_policy(saved)


def test_a_header_of_another_policy_is_refused(policy: Policy, tmp_path: Path) -> None:
    header = dataclasses.replace(make_header(policy), embedding_shape=(2, 2, 6))
    with pytest.raises(ValueError, match="the header describes"):
        save_policy(tmp_path / "policy.safetensors", policy, header)


def test_action_space_must_fit(policy: Policy) -> None:
    header = make_header(policy)
    check_action_space(header, box(4), "ee_delta")
    with pytest.raises(MismatchError) as error:
        check_action_space(header, box(8), "joint_delta")
    assert "ee_delta 4-d (dx, dy, dz, gripper)" in str(error.value)
    assert "joint_delta 8-d (dq1, dq2, dq3, dq4, dq5, dq6, dq7, gripper)" in str(error.value)
    with pytest.raises(MismatchError, match="ee_delta 5-d .dx, dy, dz, dyaw, gripper"):
        check_action_space(header, box(5), "ee_delta")
    with pytest.raises(MismatchError):
        check_action_space(header, box(4, high=2.0), "ee_delta")
    with pytest.raises(ValueError, match="unknown control 'torque'"):
        check_action_space(header, box(4), "torque")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_acts_alike_after_saving(kind, tmp_path):
    """Robomimic's RNN holds some of its weights under two names."""
    policy = Policy(PolicyConfig(kind=kind), (4, 4, 6), proprio_dim=4, action_dim=4)
    save_policy(tmp_path / "policy.safetensors", policy, make_header(policy))
    loaded, _ = load_policy(tmp_path / "policy.safetensors")
    embedding, proprio = torch.randn(2, 96), torch.randn(2, 4)
    policy.reset(2)
    loaded.reset(2)
    for _ in range(3):
        assert torch.equal(policy.act(embedding, proprio), loaded.act(embedding, proprio))


def test_a_policy_of_recorded_actions_acts_in_their_units_after_loading(tmp_path: Path) -> None:
    policy = Policy.for_data(PolicyConfig(hidden=(8,)), make_data())
    low, high = np.full(4, -20.0, np.float32), np.full(4, 100.0, np.float32)
    space = recorded_action_space(low, high, ("x", "y", "z", "grip"), None)
    inputs = torch.zeros(1, policy.embedding_dim), torch.zeros(1, policy.proprio_dim)
    policy.reset(1)
    scaled = policy.act(*inputs)
    policy.action_units = ActionUnits.of_range(torch.from_numpy(low), torch.from_numpy(high))
    header = dataclasses.replace(make_header(policy), action_space=space)
    save_policy(tmp_path / "policy.safetensors", policy, header)
    loaded, found = load_policy(tmp_path / "policy.safetensors")
    loaded.reset(1)
    assert torch.allclose(loaded.act(*inputs), 60 * scaled + 40, atol=1e-4)
    assert found.action_space["control_hz"] is None
    with pytest.raises(MismatchError, match=r"recorded actions \(x, y, z, grip\)"):
        check_action_space(found, box(4), "ee_delta")


def test_a_folder_in_place_of_a_policy_is_named_with_the_files_in_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is a folder; give the file .* has no \*\.safe"):
        read_header(tmp_path)
    (tmp_path / "policy.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"such as .*/policy\.safetensors"):
        read_header(tmp_path)


def test_files_of_chunks_from_before_the_shortcut_have_none(tmp_path: Path) -> None:
    config = PolicyConfig(kind="act", context=1, shortcut_width=0, transformer_width=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy.for_data(config, make_data())
    save_policy(tmp_path / "old.safetensors", policy, make_header(policy))
    old = {k: v for k, v in config.to_dict().items() if k != "shortcut_width"}
    rewrite(tmp_path / "old.safetensors", {"policy_config": old})
    assert load_policy(tmp_path / "old.safetensors")[0].config == config
    assert PolicyConfig(kind="act").shortcut_width


@pytest.mark.parametrize("reader", [read_header, load_policy])
def test_a_data_file_in_place_of_a_policy_is_named_with_what_policies_are(tmp_path, reader):
    (tmp_path / "lift.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    with pytest.raises(CorruptFileError, match=r"lift\.hdf5 is no policy file.*\*\.safetensors"):
        reader(tmp_path / "lift.hdf5")
