"""From Hydra's configuration to frozen dataclasses; no code below this sees a ``DictConfig``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import dacite
from omegaconf import DictConfig, OmegaConf

T = TypeVar("T")
_PLAIN = re.compile(r"[A-Za-z0-9_./@+-]+")
"""Values that Hydra reads without quotes."""

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


def override(name: str, value: str | Path) -> str:
    """Return ``NAME=VALUE`` for Hydra, which needs quotes around brackets, commas, "=" and others.

    Args:
        name: of the setting.
        value: a path or other text.

    Examples:
        >>> override("out", "runs/a-b_1"), override("out", "runs[1]/a,b")
        ('out=runs/a-b_1', 'out="runs[1]/a,b"')
    """
    text = str(value)
    if _PLAIN.fullmatch(text):
        return f"{name}={text}"
    escaped = re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + "\\" * bool(m[2]) + m[2], text)
    return f'{name}="{escaped}"'


def command(verb: str, **settings: str | Path) -> str:
    """Return a command that a shell and Hydra read as it is meant, to be copied.

    Args:
        verb: such as "eval".
        settings: paths and other text by name.

    Examples:
        >>> print(command("eval", checkpoint="runs[1]/policy.safetensors"))
        s2robot eval 'checkpoint="runs[1]/policy.safetensors"'
    """
    return shlex.join(["s2robot", verb, *(override(*each) for each in settings.items())])
