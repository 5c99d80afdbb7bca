"""From Hydra's configuration to frozen dataclasses; nothing below this sees a ``DictConfig``."""

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

    Raises:
        ValueError: an unknown key, a missing one, or a value of another type.
    """
    plain: Any = config
    if isinstance(config, DictConfig):
        plain = OmegaConf.to_container(config, resolve=True)
    try:
        return dacite.from_dict(cls, plain, _RULES)  # pyright: ignore[reportArgumentType]
    except dacite.DaciteError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None
