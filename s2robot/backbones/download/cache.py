"""Published weights on this machine: downloaded, converted once to safetensors, read from there."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
from torch import Tensor

from s2robot.backbones.architectures import Architecture
from s2robot.backbones.card import BackboneCard, Layout
from s2robot.backbones.checkpoints import (
    check_fit,
    is_safetensors,
    load_strict,
    model_digest,
    read_safetensors,
    read_weights_file,
)
from s2robot.backbones.download.converted import FORMAT, converted_path, slug
from s2robot.backbones.download.download import download
from s2robot.backbones.state_dicts import StateDict, apply_layout
from s2robot.errors import CorruptFileError, LicenseWarning, MismatchError
from s2robot.utils.io import atomic_path, locked, sha256_file, write_json
from s2robot.utils.paths import home
from s2robot.utils.process_state import seeded_generators
from s2robot.utils.records import read_record


@dataclass(frozen=True)
class Weights:
    """Tensors under the architecture's names, and where they come from."""

    state: StateDict
    origin: str
    """File that they come from, for messages."""
    digest: str | None = None
    """``model_digest`` recorded when they were converted; None where there was no need to."""

    def verify(self, digest: str) -> None:
        """Compare with the digest of the loaded weights.

        Raises:
            CorruptFileError: the converted file was altered.
        """
        if self.digest not in (None, digest):
            raise CorruptFileError(
                f"{self.origin} was altered since it was converted: digest {digest[:12]} instead "
                f"of {(self.digest or '')[:12]}; delete it, and it is made again"
            )


def published_weights(
    card: BackboneCard, weights: str | Path | None = None, digest: str | None = None
) -> Weights:
    """Return the weights of a published backbone, from the cache where they are there already.

    Args:
        card: of origin "published", "timm" or "hub".
        weights: the published file, where the user has it; without it, the file is downloaded.
        digest: ``model_digest`` of the weights that are wanted, where it is known: weights that
            were once converted from a user's file are found without that file.

    Raises:
        FileNotFoundError: ``weights`` names no file.
        DownloadError: the file could not be downloaded.
        CorruptFileError: the file is damaged or not what the card describes.
        MismatchError: the weights do not fit the architecture.
    """
    notice(card)
    if weights is not None and not Path(weights).is_file():
        raise FileNotFoundError(f"no weights at {weights}")
    again = _converted_with(card, digest) if digest and weights is None else None
    converted = again or converted_path(card, weights)
    if not converted.exists():
        path = Path(weights) if weights is not None else fetch(card)
        direct = _direct(card, path)
        if direct is not None:
            return direct
        try:
            with locked(converted):
                if not converted.exists():
                    _convert(card, path, converted)
            if weights is None and path.is_relative_to(home() / "downloads"):
                path.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(
                f"the converted weights of {card.name} cannot be kept in {home()} ({error}); they "
                "are converted each time. Give another folder as S2ROBOT_HOME",
                stacklevel=2,
            )
            return Weights(convert(card, _content(card, path), path), str(path))
    return _read_converted(converted)


def fetch(card: BackboneCard, progress: bool = True) -> Path:
    """Return the path of a published file, which is downloaded where it is missing.

    Args:
        card: of the backbone.
        progress: show a progress bar on standard error.

    Raises:
        DownloadError: no source gives the file.
    """
    return download(card.sources, home() / "downloads" / slug(card.name), card.filename, progress)


def _direct(card: BackboneCard, path: Path) -> Weights | None:
    """Return a safetensors file's tensors if they need no conversion, else None."""
    layout = card.layout or Layout()
    if layout.convert is not None or not is_safetensors(path):
        return None
    state = apply_layout(read_safetensors(path), layout, path)
    if card.origin == "timm" and not _fits(card, state):
        return None  # timm may know how to convert it
    return Weights(state, str(path))


def _fits(card: BackboneCard, state: StateDict) -> bool:
    try:
        check_fit(card.architecture.build_empty().state_dict(), state, card.name)
    except MismatchError:
        return False
    return True


def _convert(card: BackboneCard, path: Path, target: Path) -> None:
    state = convert(card, _content(card, path), path)
    model = load_strict(card.architecture, state, str(path))
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    digest = model_digest(card.architecture, card.preprocessing.to_dict(), tensors)
    record = {
        "format": str(FORMAT),
        "backbone": card.name,
        "source": path.name,
        "source_sha256": sha256_file(path),
        "digest": digest,
        "licence": card.license.name,
    }
    with atomic_path(target) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=record)


@dataclass(frozen=True)
class _Index:
    """Index of weights that are divided into several files."""

    weight_map: dict[str, str]
    """File by name of tensor."""


def _content(card: BackboneCard, path: Path) -> Any:
    """Return the content of a published file, or of all files that an index lists."""
    if not path.name.endswith(".safetensors.index.json"):
        return read_weights_file(path)
    names = sorted(set(read_record(_Index, path, "copy or download it again").weight_map.values()))
    state: dict[str, Tensor] = {}
    for name in names:
        state.update(read_safetensors(_shard(card, path, name)))
    return state


def _shard(card: BackboneCard, index: Path, name: str) -> Path:
    """Return a file that an index lists: the one beside it, else one from the same source."""
    if Path(name).name != name:
        raise CorruptFileError(f"{index} lists {name!r}, which is not a plain file name")
    if (beside := index.with_name(name)).exists():
        return beside
    sources = [
        dataclasses.replace(source, url=source.url.replace(f"/{index.name}", f"/{name}"))
        for source in card.sources
        if f"/{index.name}" in source.url
    ]
    if not sources:
        raise FileNotFoundError(f"{index} lists {name}, which is not beside it")
    return download(sources, home() / "downloads" / slug(card.name), name)


def convert(card: BackboneCard, content: Any, path: str | Path) -> Mapping[str, Tensor]:
    """Return the tensors of a published file's content under the architecture's names.

    Args:
        card: of the backbone.
        content: of the file.
        path: of the file, for messages.

    Raises:
        CorruptFileError: the content is not what the card describes.
        MismatchError: the weights do not fit the architecture.
    """
    state = apply_layout(content, card.layout or Layout(), path)
    if card.origin == "timm" and not _fits(card, state):
        return _filtered_by_timm(card, state, path)
    return state


def _filtered_by_timm(card: BackboneCard, state: StateDict, path: str | Path) -> StateDict:
    """Return timm's own conversion of a file with other names or shapes than its model."""
    architecture = card.architecture
    assert isinstance(architecture, Architecture)
    pretrained, classes = (
        timm.get_pretrained_cfg(architecture.timm),
        architecture.options.get("num_classes", 0),
    )
    if pretrained is None or classes not in (0, pretrained.num_classes):
        raise MismatchError(  # timm would draw a head at random
            f"the weights from {path} have other names or shapes than timm's, and {card.name} has "
            f"{classes} outputs, which timm cannot convert; give the file of timm's own hub"
        )
    try:
        with seeded_generators(0, processor_only=True):
            model = timm.create_model(
                architecture.timm,
                pretrained=True,
                pretrained_cfg_overlay={"state_dict": dict(state)},
                **{"num_classes": 0, **architecture.options},
            )
    except (RuntimeError, KeyError) as error:
        raise MismatchError(
            f"the weights from {path} do not fit the architecture of {card.name}: {error}"
        ) from error
    return model.state_dict()


def _converted_with(card: BackboneCard, digest: str) -> Path | None:
    """Return the converted copy with this digest, of whichever file."""
    copies = sorted((home() / "weights").glob(f"{slug(card.name)}-*.safetensors"))
    return next((path for path in copies if _recorded(path).get("digest") == digest), None)


def _recorded(path: Path) -> dict[str, str]:
    """Return the metadata of a converted file."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return file.metadata() or {}
    except Exception as error:  # safetensors' own, or of the operating system
        raise CorruptFileError(
            f"{path} cannot be read ({error}); delete it, and it is made again"
        ) from None


def _read_converted(path: Path) -> Weights:
    recorded = _recorded(path).get("digest", "none recorded")
    return Weights(read_safetensors(path), str(path), recorded)


def notice(card: BackboneCard) -> None:
    """Warn once a machine about a license that forbids or requires something."""
    license = card.license
    if not (license.non_commercial or license.gated):
        return
    marker = home() / "notices" / f"{slug(card.name)}.json"
    if marker.exists():
        return
    terms = [
        "not for commercial use" if license.non_commercial else "",
        "behind a form on the hub (accept it there, then set HF_TOKEN)" if license.gated else "",
    ]
    text = f"{card.name}: {license.name}, {' and '.join(term for term in terms if term)}"
    warnings.warn(f"{text} (shown once)", LicenseWarning, stacklevel=2)
    with contextlib.suppress(OSError):  # where nothing can be written, it is shown again
        write_json(marker, {"told": text})
