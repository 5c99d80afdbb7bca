"""Settings of a variant: camera, demonstrations, encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from s2robot.backbones.registry import get_card
from s2robot.data.config import LEAST_CAMERA_SIZE, CollectConfig, take_task
from s2robot.encoder.spec import DTYPES, EncoderChoice, EncoderSpec, scale_set
from s2robot.envs.levels import CAMERAS
from s2robot.envs.tasks.names import is_foreign
from s2robot.errors import unknown
from s2robot.evaluation.baselines import current_name, is_baseline, stored_name
from s2robot.runtimes import RUNTIMES
from s2robot.utils.devices import check_device
from s2robot.utils.validation import require_at_least, require_one_of, require_positive

_OF_TASKS = ("level", "task", "control", "camera", "demos")
"""Settings of a variant that recorded data, ``data``, have no use for."""
_OF_DATA = ("low_dim", "action", "tolerance_s")
"""Settings of a variant that choose from recorded data."""


@dataclass(frozen=True)
class CameraChoice:
    """Camera of a variant."""

    name: str | None = None
    """``front``, ``far`` or ``wrist``; in another task, an observation with frames or ``render``.
    None takes the task's own."""
    size: int = 384
    """Edge of the frames [px]; tasks other than pick-cube have frames of their own size."""

    def __post_init__(self) -> None:
        require_at_least(self, LEAST_CAMERA_SIZE, "size")


@dataclass(frozen=True)
class DemosChoice:
    """Demonstrations of a variant: a file, or settings of their collection."""

    path: Path | None = None
    """File of demonstrations; None collects them where they are missing."""
    episodes: int = 120
    """Number of demonstrations to collect."""
    seed: int = 0
    """Seed of their collection."""

    def __post_init__(self) -> None:
        CollectConfig(episodes=self.episodes, seed=self.seed)  # which checks them


@dataclass(frozen=True, kw_only=True)
class VariantConfig(EncoderChoice):
    """Settings of a variant, and the folder of its inputs; ``configs/variant.yaml`` explains them.

    The options of the encoder are inherited; three of them have another default here.

    Raises:
        ValueError: a name is unknown, or an option of the encoder is out of its range.

    Examples:
        >>> config = VariantConfig(level="easy", encoder="blind")
        >>> from s2robot.experiments.variant import Variant
        >>> variant = Variant(config)
        >>> variant.label, variant.is_baseline, variant.camera.name
        ('blind', True, 'front')
    """

    level: str = "precise"
    task: str | None = None
    control: str = "ee_delta"
    encoder: str = "s2r-vitt16-128"
    weights: Path | None = None
    scales: tuple[float, ...] = (1.0, 2.0)
    readout: str = "spatial_softmax"
    dtype: str = "auto"
    camera: CameraChoice = field(default_factory=CameraChoice)
    demos: DemosChoice = field(default_factory=DemosChoice)
    data: Path | None = None
    cameras: tuple[str, ...] = ()
    camera_scales: dict[str, tuple[float, ...]] = field(default_factory=dict)
    low_dim: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    tolerance_s: float | None = None
    device: str = "auto"
    runtime: str = "auto"
    data_dir: Path = Path("data")

    def __post_init__(self) -> None:
        take_task(self)
        if not is_foreign(self.level) and self.camera.name is not None:
            require_one_of(self.camera, {"name": CAMERAS})
        self._check_cameras()
        if is_foreign(self.level):
            self._check_foreign()
        require_one_of(self, {"runtime": RUNTIMES})
        check_device(self.device)
        object.__setattr__(self, "encoder", current_name(self.encoder))
        self._check_encoder()
        self._check_data()
        own = {name: tuple(map(float, scales)) for name, scales in self.camera_scales.items()}
        usual = tuple(map(float, scale_set(self.scales)))
        own = {name: scales for name, scales in own.items() if scales != usual}
        object.__setattr__(self, "camera_scales", own)  # those that differ: digests hold them

    def _check_cameras(self) -> None:
        """Refuse cameras that are named twice, or that there are not."""
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras is {list(self.cameras)}; name each camera once")
        if self.cameras and self.camera.name is not None:
            raise ValueError(
                f"camera.name is {self.camera.name!r} and cameras is {list(self.cameras)}; give "
                "one of them"
            )
        if self.data is None and not is_foreign(self.level):
            for name in self.cameras:
                if name not in CAMERAS:
                    raise unknown("camera in cameras", name, CAMERAS)
        if self.camera_scales and not self.cameras:
            raise ValueError(
                f"camera_scales is {_shown(self.camera_scales)}, but cameras= names none; name "
                "all cameras of the policy, as in 'cameras=[far,wrist]'"
            )
        if self.camera_scales and len(self.cameras) == 1:
            raise ValueError(
                f"camera_scales is {_shown(self.camera_scales)} with one camera; give its scales "
                "as scales="
            )
        for name in self.camera_scales:
            if name not in self.cameras:
                raise unknown("camera in camera_scales", name, self.cameras)

    def scales_of(self, camera: str) -> tuple[float, ...]:
        """Return the scales of a camera: its own, or ``scales``."""
        return tuple(self.camera_scales.get(camera, self.scales))

    def _check_data(self) -> None:
        """Refuse settings that recorded data and the simulator have not both."""
        given = [name for name in _OF_DATA if getattr(self, name) not in ((), None)]
        if self.data is None:
            if given:
                value = getattr(self, given[0])
                raise ValueError(
                    f"{given[0]} is {list(value) if isinstance(value, tuple) else value}, but "
                    "there is no data; it chooses from recorded data, data=PATH"
                )
            return
        if self.tolerance_s is not None:
            require_positive(self, "tolerance_s")
        defaults = {field.name: field.default for field in fields(self)}
        defaults |= {"camera": CameraChoice(), "demos": DemosChoice()}
        names = [name for name in _OF_TASKS if name in defaults]
        of_tasks = [name for name in names if getattr(self, name) != defaults[name]]
        if of_tasks:
            raise ValueError(
                f"{of_tasks[0]} is of tasks with a simulator and data={self.data} is recorded; "
                "leave one out"
            )
        if is_baseline(stored_name(self.encoder)) and stored_name(self.encoder) != "none":
            raise ValueError(
                f"encoder {self.encoder} reads the simulator's state, which recorded data do not "
                "have; the baseline for them is blind"
            )

    def _check_foreign(self) -> None:
        """Refuse settings that only pick-cube has."""
        if stored_name(self.encoder) == "state":
            raise ValueError(
                f"encoder is {self.encoder}, the position of the cube, which {self.level} has not; "
                "take blind as the baseline"
            )
        if self.camera.size != CameraChoice.size:
            raise ValueError(
                f"camera.size is {self.camera.size}, but frames of {self.level} have the size that "
                "its environment gives them; set it there, as in gym:ID?width=128&height=128, and "
                "leave camera.size out"
            )

    def _check_encoder(self) -> None:
        """Refuse an encoder that would fail only after demonstrations were collected for it."""
        require_one_of(self, {"dtype": ("auto", *DTYPES)})
        options: dict[str, Any] = {**self.keywords(), "dtype": DTYPES[0]}
        EncoderSpec("", "", scales=self.scales, readout=self.readout, **options)
        for name in self.camera_scales:
            try:
                scales = scale_set(self.scales_of(name))
                EncoderSpec("", "", scales=scales, readout=self.readout, **options)
            except ValueError as error:
                raise ValueError(f"camera_scales of {name}: {error}") from None
        if not is_baseline(stored_name(self.encoder)) and not {"/", ":"} & set(self.encoder):
            get_card(self.encoder)  # the names of hubs and files are looked up when they are used


def _shown(camera_scales: Mapping[str, tuple[float, ...]]) -> str:
    """Return scales by camera as a user types them.

    Examples:
        >>> _shown({"wrist": (1.0, 2.0)})
        '{wrist:[1,2]}'
    """
    parts = [
        f"{name}:[{','.join(f'{scale:g}' for scale in scales)}]"
        for name, scales in camera_scales.items()
    ]
    return "{" + ",".join(parts) + "}"
