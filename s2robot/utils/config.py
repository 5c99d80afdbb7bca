"""From Hydra's configuration to frozen dataclasses; no code below this sees a ``DictConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import dacite
from omegaconf import DictConfig, OmegaConf

T = TypeVar("T")

_RULES = dacite.Config(strict=True, cast=[tuple, Path], type_hooks={float: float})


def from_config(cls: type[T], config: DictConfig | Mapping[str, Any]) -> T:
    """Build the frozen dataclass ``cls`` from a configuration of the same shape.

    Args:
        cls: the dataclass.
        config: its fields by name; interpolations are resolved.

    Raises:
        ValueError: a key is unknown or missing, or a value is of another type.

    Examples:
        >>> from s2robot.policies.config import PolicyConfig
        >>> from_config(PolicyConfig, {"kind": "gmm", "hidden": [64, 64]}).hidden
        (64, 64)
    """
    plain: Any = config
    if isinstance(config, DictConfig):
        plain = OmegaConf.to_container(config, resolve=True)
    try:
        return dacite.from_dict(cls, plain, _RULES)  # pyright: ignore[reportArgumentType]
    except dacite.DaciteError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None
