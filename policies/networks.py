"""Policy networks; robomimic's are built quietly and without its global configuration."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from s2robot.policies.action_chunks import ChunkTransformer
from s2robot.policies.config import PolicyConfig
from s2robot.utils.process_state import without_output

_PLAIN_LOW_DIM = {
    "low_dim": {
        "core_class": None,
        "core_kwargs": {},
        "obs_randomizer_class": None,
        "obs_randomizer_kwargs": {},
    }
}


@functools.cache
def _policy_nets() -> ModuleType:
    """Return ``robomimic.models.policy_nets``; it is imported late, since that takes seconds."""
    with without_output():  # it prints advice about macros
        from robomimic.models import policy_nets
    return policy_nets


def _register_low_dim(keys: Mapping[str, int]) -> None:
    """Register keys as low-dimensional with robomimic; keep what another program registered."""
    import robomimic.utils.obs_utils as obs_utils

    if obs_utils.OBS_KEYS_TO_MODALITIES is None:
        obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": list(keys)}})
    known = obs_utils.OBS_KEYS_TO_MODALITIES
    assert known is not None
    for key in keys:
        if known.setdefault(key, "low_dim") != "low_dim":
            raise ValueError(f"robomimic already knows the observation {key!r} as {known[key]!r}")


def build_network(config: PolicyConfig, widths: Mapping[str, int], action_dim: int) -> nn.Module:
    """Return the network of ``config.kind``: robomimic's, but for action chunks.

    Args:
        config: sizes.
        widths: width of each observation, by key.
        action_dim: entries of an action; outputs are in [-1, 1].
    """
    if config.is_chunked:
        return ChunkTransformer(config, dict(widths), action_dim)
    nets = _policy_nets()
    common = {
        "obs_shapes": OrderedDict((key, (width,)) for key, width in widths.items()),
        "ac_dim": action_dim,
        "encoder_kwargs": _PLAIN_LOW_DIM,
    }
    with without_output():  # it prints what it builds
        _register_low_dim(widths)
        if config.kind == "mlp":
            return nets.ActorNetwork(mlp_layer_dims=config.hidden, **common)
        # With its low-noise evaluation, the likelihood of held-out actions would mean nothing.
        common |= {"num_modes": config.gmm_modes, "min_std": config.gmm_min_std}
        common["low_noise_eval"] = False
        if config.kind == "gmm":
            return nets.GMMActorNetwork(mlp_layer_dims=config.hidden, **common)
        if config.kind == "rnn_gmm":
            return nets.RNNGMMActorNetwork(**_rnn_sizes(config), **common)
        return nets.TransformerGMMActorNetwork(**_transformer_sizes(config), **common)


def _rnn_sizes(config: PolicyConfig) -> dict[str, Any]:
    return {
        "mlp_layer_dims": config.hidden,
        "rnn_hidden_dim": config.rnn_hidden,
        "rnn_num_layers": config.rnn_layers,
        "rnn_kwargs": {},
    }


def _transformer_sizes(config: PolicyConfig) -> dict[str, Any]:
    return {
        "transformer_embed_dim": config.transformer_width,
        "transformer_num_layers": config.transformer_layers,
        "transformer_num_heads": config.transformer_heads,
        "transformer_context_length": config.context,
        "transformer_emb_dropout": config.dropout,
        "transformer_attn_dropout": config.dropout,
        "transformer_block_output_dropout": config.dropout,
        "transformer_nn_parameter_for_timesteps": True,
    }
