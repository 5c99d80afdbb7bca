"""What robomimic keeps of a configuration in global variables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import robomimic.utils.obs_utils as obs_utils

_OF_CONFIGURATION = ("OBS_MODALITIES_TO_KEYS", "OBS_KEYS_TO_MODALITIES", "DEFAULT_ENCODER_KWARGS")


@contextlib.contextmanager
def kept_modalities() -> Iterator[None]:
    """Restore the modalities of observations after the block."""
    kept = {name: getattr(obs_utils, name) for name in _OF_CONFIGURATION}
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(obs_utils, name, value)
