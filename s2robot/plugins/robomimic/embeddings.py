"""Embeddings of cameras as observations, computed from frames as ``robomimic-cache`` did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import CorruptFileError

RECORD = "s2robot_embeddings"
"""Entry with the encoder and the cameras, in attributes of a file and in its ``env_args``, which
robomimic copies to each checkpoint."""
_IMAGE = "_image"


class EmbeddedCameras:
    """Which observations are embeddings, and of what.

    Args:
        record: as ``robomimic-cache`` writes it.
        device: of the encoder.
        runtime: of the encoder.

    Raises:
        CorruptFileError: the record is damaged.
        MismatchError: the weights of the encoder are others than those of the file.
    """

    def __init__(self, record: Any, device: str = "auto", runtime: str = "auto") -> None:
        try:
            self.cameras = {
                str(key): str(camera).removesuffix(_IMAGE)
                for key, camera in record["cameras"].items()
            }
            self.sizes = {
                str(key): (int(height), int(width))
                for key, (height, width) in record.get("sizes", {}).items()
            }
            spec = EncoderSpec.from_dict(record["encoder"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"the record of the embeddings is damaged ({error}); write the file again with "
                "s2robot robomimic-cache"
            ) from None
        self.encoder = FrameEncoder.from_spec(spec, device=device, runtime=runtime)

    def source(
        self, key: str
    ) -> Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Any]:
        """Return what computes one observation from frames ``(B, H, W, 3)`` by camera."""
        camera = self.cameras[key]

        def embedding(frames: Mapping[str, np.ndarray], _: Mapping[str, np.ndarray]) -> Any:
            return self.encoder(frames[camera])

        return embedding
