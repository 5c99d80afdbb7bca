"""The policy: LeRobot's interface around a frozen encoder and a head of s2robot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION
from torch import Tensor

from lerobot_policy_s2robot.configuration_s2robot import S2robotConfig
from lerobot_policy_s2robot.converted import ConvertedPolicy
from lerobot_policy_s2robot.embeddings import (
    CameraEmbeddings,
    DatasetEmbeddings,
    encode_dataset,
    make_encoder,
)
from lerobot_policy_s2robot.rows import TrainingRows, attach
from s2robot.errors import MismatchError
from s2robot.policies.policy import Policy
from s2robot.utils.optim import parameter_groups


class S2robotPolicy(PreTrainedPolicy):
    """Policy on a frozen S² encoder, for LeRobot's commands.

    The encoder is no submodule: no optimizer sees it, and ``model.safetensors`` does not hold it.
    ``config.json`` has its name and the digest of its weights, which loading verifies. In training,
    each frame of the data set is encoded once, at the first step, and kept on disk.

    Args:
        config: settings.
        dataset_stats: not used; LeRobot's processors normalize.
        dataset_meta: metadata of the data set to train on; its rows are then read without pictures.
        others: further arguments of LeRobot, which are not used.

    Raises:
        ValueError: settings do not go together, or there is no camera.
        MismatchError: the encoder's weights are not those of the saved policy.
    """

    config_class = S2robotConfig  # pyright: ignore[reportAssignmentType]
    name = "s2robot"  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        config: S2robotConfig,
        dataset_stats: Any = None,
        dataset_meta: Any = None,
        **others: Any,
    ) -> None:
        del dataset_stats, others
        super().__init__(config)
        self.config: S2robotConfig = config
        self._meta, self._data, self._batch = dataset_meta, None, None
        self.is_fitted: Tensor
        self.register_buffer("is_fitted", torch.tensor(False))
        self._converted = ConvertedPolicy(config) if config.is_converted else None
        if self._converted is not None:
            self.policy = self._converted.policy
            return
        config.validate_features()
        encoder = make_encoder(config)
        config.encoder_spec = encoder.spec.to_dict()
        self._cameras = (CameraEmbeddings(encoder, config.camera_sizes),)  # no submodule
        self.policy = Policy(config.head, self.cameras.shape, config.state_size, config.action_size)
        if dataset_meta is not None:
            attach(dataset_meta, _rows_of(config))

    @property
    def cameras(self) -> CameraEmbeddings:
        """The encoder of all cameras."""
        return self._cameras[0]

    def get_optim_params(self) -> list[dict[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the parameters of the head alone; weight decay is of matrices."""
        return parameter_groups(self.policy, self.config.optimizer_weight_decay)

    def reset(self) -> None:
        """Begin an episode, or a batch of episodes."""
        self._batch = None
        if self._converted is not None:
            self._converted.reset()

    def forward(
        self, batch: dict[str, Tensor], reduction: str = "mean", **_: Any
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the imitation loss of a batch that the preprocessor normalized.

        Args:
            batch: rows of a data set, with ``index``; or with pictures of all cameras.
            reduction: "mean" alone; LeRobot asks for another one where it weights samples.

        Raises:
            ValueError: another reduction is asked for.
            MismatchError: the policy is one of `s2robot train`.
        """
        if self._converted is not None:
            raise MismatchError(
                "this policy was trained by `s2robot train`, which also trains on; lerobot-train "
                "trains from the start: leave policy.checkpoint and policy.path out"
            )
        if reduction != "mean":
            raise ValueError(
                f"reduction is {reduction!r}; allowed: mean. Leave --sample_weighting out"
            )
        embedding = self._embeddings(batch)
        actions = batch[ACTION]
        padded = batch.get(f"{ACTION}_is_pad")
        mask = torch.ones_like(actions[..., 0], dtype=torch.bool) if padded is None else ~padded
        normalized = self.policy.normalize_embedding(embedding.to(actions.device))
        loss = self.policy.loss(normalized, self._state(batch), actions, mask)
        return loss, {}

    def _embeddings(self, batch: Mapping[str, Any]) -> Tensor:
        """Return embeddings ``(B, D)``, or ``(B, T, D)`` for a head that reads several steps."""
        if "index" not in batch or self._meta is None:
            return self.cameras.of_batch(batch)
        found = self._encoded().of(batch["index"], self.config.observation_offsets)
        return found if self.config.head.is_sequence else found[:, 0]

    def _encoded(self) -> DatasetEmbeddings:
        """Return the embeddings of the data set, which the first call encodes where need be."""
        if self._data is None:
            found = encode_dataset(self._meta.root, self.cameras, self.config.features_dir)
            self._data = found
            if not self.is_fitted:
                shape = self.cameras.shape
                self.policy.embedding_normalizer.fit(found.embeddings.unflatten(-1, shape))
                self.is_fitted.fill_(True)
        return self._data

    def _state(self, batch: Mapping[str, Any]) -> Tensor:
        key = self.config.state_key
        if self.config.state_size:
            if key not in batch:
                raise KeyError(f"the batch lacks {key}, which the policy was trained with")
            return batch[key]
        offsets = (len(self.config.observation_offsets),) if self.config.head.is_sequence else ()
        actions = batch.get(ACTION)
        first = actions if isinstance(actions, Tensor) else batch[self.cameras.keys[0]]
        lead = offsets if isinstance(actions, Tensor) else ()
        return first.new_zeros(len(first), *lead, 0)

    def select_action(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """Return the actions ``(B, A)`` of one control step, as the postprocessor takes them.

        Args:
            batch: images ``(B, 3, H, W)`` in 0-1 and measurements ``(B, d)``, preprocessed.
        """
        if self._converted is not None:
            return self._converted.actions(batch)
        embedding, state = self.cameras.of_batch(batch), self._state(batch)
        if self._batch != len(embedding):
            self._batch = len(embedding)
            self.policy.reset(self._batch)
        return self.policy.act(embedding, state)

    def predict_action_chunk(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """Return actions ``(B, K, A)`` from the present step on, as if the episode began here.

        K is 1 for heads without chunks, and for policies of `s2robot train`.
        """
        if self._converted is not None:
            return self._converted.actions(batch)[:, None]
        embedding = self.policy.normalize_embedding(self.cameras.of_batch(batch))
        state = self._state(batch)
        if self.config.head.is_sequence:
            steps = len(self.config.observation_offsets)
            embedding = torch.stack([embedding] * steps, dim=1)
            state = torch.stack([state] * steps, dim=1)
        with torch.inference_mode():
            found = self.policy.predict(embedding, state)
        if self.config.head.is_chunked:
            return found
        if not self.config.head.is_sequence:
            return found[:, None]
        # What an LSTM returns first is of an episode that begins here, as select_action does.
        return found[:, :1] if self.config.head.kind == "rnn_gmm" else found[:, -1:]

    @classmethod
    def _load_as_safetensor(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, model: S2robotPolicy, model_file: str, map_location: str, strict: bool
    ) -> S2robotPolicy:
        """Load weights; LeRobot would only log those that are missing or do not fit."""
        del strict
        try:
            return super()._load_as_safetensor(model, model_file, map_location, True)
        except RuntimeError as error:
            raise MismatchError(
                f"{model_file} does not hold the weights of this policy ({error}); copy the folder "
                "again, or train again"
            ) from None


def _rows_of(config: S2robotConfig) -> TrainingRows:
    return TrainingRows(
        state=config.state_key if config.state_size else None,
        observations=config.observation_offsets,
        actions=config.action_offsets,
        sequences=config.head.is_sequence,
    )
