"""robomimic's global variables, restored after each of its tests."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture(autouse=True)
def keep_modalities_of_robomimic(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """robomimic keeps the modalities of observations in global variables."""
    if not request.path.name.startswith("test_robomimic"):
        return
    obs_utils = importlib.import_module("robomimic.utils.obs_utils")
    for name in ("OBS_MODALITIES_TO_KEYS", "OBS_KEYS_TO_MODALITIES", "DEFAULT_ENCODER_KWARGS"):
        monkeypatch.setattr(obs_utils, name, getattr(obs_utils, name))
