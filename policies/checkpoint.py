"""Policy files: weights as safetensors, with a JSON header for everything else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from s2robot.errors import CorruptFileError, MismatchError
from s2robot.policies.action_space import RECORDED, Box
from s2robot.policies.action_space import action_space_record as action_space_record
from s2robot.policies.action_space import recorded_action_space as recorded_action_space
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.config import PolicyConfig
from s2robot.policies.policy import Policy
from s2robot.utils.io import atomic_path, digest_of
from s2robot.utils.records import damaged, record_of
from s2robot.utils.validation import config_from_dict

SUFFIX = ".safetensors"
FORMAT = "s2robot-policy"
VERSION = 1

_REMEDY = "copy it again from where it was made, or train again"


@dataclass(frozen=True)
class PolicyHeader:
    """Description of a policy in its file; every field is JSON-able."""

    policy_config: PolicyConfig
    """Network and readout."""
    encoder: dict[str, Any]
    """``EncoderSpec`` as a dictionary; ``{"backbone": "none" or "state"}`` for a baseline."""
    embedding_shape: tuple[int, ...]
    """Shape of one embedding."""
    proprio_keys: tuple[str, ...]
    """Low-dimensional observations, in order, as ``stack_proprio`` concatenates them."""
    action_space: dict[str, Any]
    """Record of ``action_space_record``: control, dim, low, high, meaning, control_hz [Hz], and
    ``own``, the bounds in the environment's units, of ``native`` control. For recorded actions
    that of ``recorded_action_space``."""
    env_kwargs: dict[str, Any]
    """Arguments of the environment, which include the level."""
    frames: dict[str, Any]
    """Frame source: camera, height, width, render quality; empty for a policy without pixels.
    Of recorded data ``cameras``: name, height and width [px] of each, in order; and
    ``proprio_names``: names of the numbers of each low-dimensional observation."""
    demos_digest: str
    """Digest of the demonstrations."""
    train: dict[str, Any]
    """``TrainConfig`` as a dictionary."""
    seed: int
    """Training seed."""
    head: dict[str, Any]
    """Choice and trials of the hyperparameter search; empty without a search."""
    provenance: dict[str, Any]
    """Machine, versions and commit of the training."""
    sha256: str = ""
    """Digest of this header and the weights, which ``save_policy`` computes."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values of all fields, with the format and version of the file."""
        fields = {**dataclasses.asdict(self), "policy_config": self.policy_config.to_dict()}
        return {"format": FORMAT, "version": VERSION, **fields}

    @property
    def level(self) -> str | None:
        """Name of the level, if the environment has one."""
        return self.env_kwargs.get("level")


@dataclass(frozen=True)
class _Version:
    version: int


@dataclass(frozen=True)
class _StoredEncoder:
    backbone: str


@dataclass(frozen=True)
class _StoredBounds:
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class _StoredActions:
    control: str
    dim: int
    low: list[float]
    high: list[float]
    meaning: list[str]
    control_hz: float | None
    own: _StoredBounds | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.low), len(self.high), len(self.meaning)}
        lengths |= set() if self.own is None else {len(self.own.low), len(self.own.high)}
        rate = 1 if self.control_hz is None else self.control_hz
        if lengths != {self.dim} or rate <= 0:
            raise ValueError(f"the action space has dim {self.dim}, and lists of {lengths} entries")


@dataclass(frozen=True)
class _Stored:
    """Types of a header's entries in a file; ``PolicyHeader`` says what they are."""

    policy_config: dict[str, Any]
    encoder: _StoredEncoder
    embedding_shape: list[int]
    proprio_keys: list[str]
    action_space: _StoredActions
    env_kwargs: dict[str, Any]
    frames: dict[str, Any]
    demos_digest: str
    train: dict[str, Any]
    seed: int
    head: dict[str, Any]
    provenance: dict[str, Any]
    sha256: str = ""


def require_known_actions(header: PolicyHeader) -> None:
    """Raise an error for a policy of recorded actions, which only its user can execute.

    Raises:
        MismatchError: the policy was trained on recorded data.
    """
    if header.action_space["control"] == RECORDED:
        names = ", ".join(header.action_space["meaning"])
        raise MismatchError(
            f"the policy was trained on recorded actions ({names}), and its file names nothing "
            "that executes them; `s2robot eval checkpoint=FILE task=NAME` rolls it out in a task "
            "that does, and s2robot.load_policy(FILE) runs in your own loop. Its page has its "
            "error on held-out episodes"
        )


def check_action_space(
    header: PolicyHeader,
    action_space: Box,
    control: str,
    own: Mapping[str, list[float]] | None = None,
) -> None:
    """Raise an error where a policy's actions do not fit an environment.

    Args:
        header: of the policy.
        action_space: of the environment.
        control: of the environment.
        own: bounds of the environment in its own units, as ``action_space_record`` takes them.

    Raises:
        MismatchError: control, size or bounds differ; the message contains both sides.
        ValueError: the control is unknown.
    """
    require_known_actions(header)
    policy = header.action_space
    keys = ["control", "dim", "low", "high", *(["own"] if own and "own" in policy else [])]
    seen = action_space_record(action_space, control, policy["control_hz"], own)
    if any(seen[key] != policy[key] for key in keys):
        raise MismatchError(
            "the policy and the environment have different action spaces:\n"
            f"  policy:      {_described(policy)}\n"
            f"  environment: {_described(seen)}\n"
            "Use the environment that the policy was trained for "
            f"({json.dumps(header.env_kwargs)}), or train another policy."
        )


def _described(space: Mapping[str, Any]) -> str:
    meaning = ", ".join(space["meaning"])
    bounds = space.get("own", space)
    return f"{space['control']} {space['dim']}-d ({meaning}) in {bounds['low']}..{bounds['high']}"


def save_policy(path: str | Path, policy: Policy, header: PolicyHeader) -> PolicyHeader:
    """Write a policy file, atomically.

    Args:
        path: of the file.
        policy: with the weights to save.
        header: describes the policy; its ``sha256`` is replaced.

    Returns:
        The header with its ``sha256``.

    Raises:
        ValueError: a weight is not finite, or the header describes another policy.
    """
    described = (header.policy_config, tuple(header.embedding_shape), header.action_space["dim"])
    if described != (policy.config, policy.embedding_shape, policy.action_dim):
        raise ValueError(
            f"the header describes {described}, "
            f"the policy is {(policy.config, policy.embedding_shape, policy.action_dim)}"
        )
    aliases = _aliases(policy)
    tensors = {
        name: value.detach().cpu().contiguous()
        for name, value in policy.state_dict().items()
        if name not in aliases
    }
    bad = _not_finite(tensors)
    if bad:
        raise ValueError(f"weights {bad} are NaN or infinite; such a policy is not saved")
    header = dataclasses.replace(header, sha256=_digest(header, tensors))
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={FORMAT: json.dumps(header.to_dict())})
    return header


def load_policy(
    path: str | Path, device: str | torch.device = "cpu"
) -> tuple[Policy, PolicyHeader]:
    """Return the policy of a file, in evaluation mode, and its header.

    Args:
        path: of the file.
        device: of the policy.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: it is truncated, altered, holds NaN, or is not a policy file.
        MismatchError: it was written in another version of the format.
    """
    metadata, tensors = _read(Path(path))
    header = _parse_header(path, metadata)
    if header.sha256 != _digest(header, tensors):
        raise CorruptFileError(
            f"{path} was altered after it was written: its header and weights do not have the "
            f"digest {header.sha256[:12]}… that it states. Copy it again, or train again."
        )
    bad = _not_finite(tensors)
    if bad:
        raise CorruptFileError(f"{path}: weights {bad} are NaN or infinite; train again")
    return _rebuild(path, header, tensors).to(device), header


def read_header(path: str | Path) -> PolicyHeader:
    """Return the header of a policy file, without reading or verifying the weights.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: it is truncated, or is not a policy file.
        MismatchError: it was written in another version of the format.
    """
    return _parse_header(path, _read(Path(path), weights=False)[0])


def _read(path: Path, weights: bool = True) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    if path.is_dir():
        inside = sorted(each.name for each in path.glob(f"*{SUFFIX}"))
        found = f"such as {path / inside[0]}" if inside else f"and {path} has no *{SUFFIX}"
        raise FileNotFoundError(f"{path} is a folder; give the file of a policy, {found}")
    if not path.is_file():
        raise FileNotFoundError(f"no policy file {path}; train one with `s2robot train`")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if weights else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        if path.suffix != SUFFIX:
            raise CorruptFileError(
                f"{path} is no policy file: it is not of safetensors ({error}). Policies are the "
                f"files *{SUFFIX} that `s2robot train` and `s2robot sweep` write"
            ) from None
        raise CorruptFileError(
            f"{path} is not a whole safetensors file ({error}); copy it again, or train again"
        ) from None


def _parse_header(path: str | Path, metadata: Mapping[str, str]) -> PolicyHeader:
    if FORMAT not in metadata:
        raise CorruptFileError(
            f"{path} is a safetensors file, but not a policy: its metadata has no {FORMAT!r} "
            f"(found {sorted(metadata)}). Policies are written by `s2robot train`."
        )
    try:
        values = json.loads(metadata[FORMAT])
    except (ValueError, RecursionError) as error:
        raise damaged(f"the header of {path}", error, _REMEDY) from None
    return header_from_dict(values, f"the header of {path}")


def header_from_dict(values: Any, source: str) -> PolicyHeader:
    """Return a header from the values of ``PolicyHeader.to_dict``.

    Args:
        values: as they were stored.
        source: where they are from, for messages.

    Raises:
        CorruptFileError: an entry is missing or of another type.
        MismatchError: it was written in another version of the format.
    """
    try:
        version = record_of(_Version, values, source, _REMEDY).version
        if version != VERSION:
            raise MismatchError(
                f"{source} has policy format version {version}, this s2robot reads version "
                f"{VERSION}; use the s2robot that wrote it, or train again"
            )
        record_of(_Stored, values, source, _REMEDY)
        fields = {key: values[key] for key in values if key not in ("format", "version")}
        config = values["policy_config"]
        if config.get("kind") == "act":  # older files have no shortcut, and do not name it
            config = {"shortcut_width": 0, **config}
        fields["policy_config"] = config_from_dict(PolicyConfig, config)
        return config_from_dict(PolicyHeader, fields)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise damaged(source, error, _REMEDY) from None


def _rebuild(path: str | Path, header: PolicyHeader, tensors: dict[str, torch.Tensor]) -> Policy:
    try:
        proprio_dim = len(tensors["proprio_standardiser.mean"])
        policy = Policy(
            header.policy_config, header.embedding_shape, proprio_dim, header.action_space["dim"]
        )
        aliases = _aliases(policy)
        if any(name.startswith("action_units.") for name in tensors):
            policy.action_units = ActionUnits(policy.action_dim)
        policy.load_state_dict({**tensors, **{a: tensors[name] for a, name in aliases.items()}})
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path}: its weights do not fit its header ({error})") from None
    return policy.eval()


def _aliases(policy: Policy) -> dict[str, str]:
    """Return second names of weights by the first one: robomimic's RNN registers parts twice."""
    first: dict[int, str] = {}
    aliases = {}
    for name, value in policy.state_dict().items():
        if value.numel() and first.setdefault(value.data_ptr(), name) != name:
            aliases[name] = first[value.data_ptr()]
    return aliases


def _not_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    return [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]


def _digest(header: PolicyHeader, tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of the header, without its digest, and of the weights by name."""
    record = dataclasses.replace(header, sha256="").to_dict()
    sha = hashlib.sha256(digest_of(record).encode())
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.numpy().data)
    return sha.hexdigest()
