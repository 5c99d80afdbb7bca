"""Files of the Hugging Face hub, kept in the hub's own cache."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from s2robot.backbones.weight_sources import Source
from s2robot.errors import DownloadError
from s2robot.utils.paths import offline


def fetch_from_hub(source: Source, progress: bool) -> Path:
    """Return a file of the hub; offline, the one in its cache.

    Args:
        source: on the hub.
        progress: show a progress bar on standard error.

    Returns:
        Its path in the hub's cache, its digest checked.

    Raises:
        DownloadError: it could not be downloaded, or its digest differs.
    """
    path = _required_from_cache(source) if offline() else _asked_of_hub(source, progress)
    try:
        source.check_digest(path)
    except DownloadError as error:
        raise DownloadError(f"{error}; delete {path.resolve()} to download it again") from None
    return path


def cached_by_hub(source: Source) -> Path | None:
    """Return the path of a file in the hub's cache, None if it is not there.

    ``hf_hub_download`` is avoided: it may use the network even with ``local_files_only``.
    """
    repo, path, revision = source.hub_parts
    found = huggingface_hub.try_to_load_from_cache(repo, path, hub_cache(), revision)
    return Path(found) if isinstance(found, str) else None


def _required_from_cache(source: Source) -> Path:
    path = cached_by_hub(source)
    if path is None:
        raise DownloadError(
            "offline (S2ROBOT_OFFLINE or HF_HUB_OFFLINE is set), not in the hub's cache"
        )
    return path


def _asked_of_hub(source: Source, progress: bool) -> Path:
    repo, path, revision = source.hub_parts
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        with _bars(progress):
            found = huggingface_hub.hf_hub_download(
                repo, path, revision=revision, cache_dir=hub_cache(), endpoint=endpoint
            )
    except Exception as error:  # what connections raise differs between the library's versions
        raise DownloadError(_problem(error, source)) from error
    return Path(found)


def hub_cache() -> str | None:
    """Return the folder of the hub's cache that the environment names; None: the library's default.

    The library itself reads the environment only when it is imported.
    """
    if cache := os.environ.get("HF_HUB_CACHE"):
        return cache
    return os.path.join(folder, "hub") if (folder := os.environ.get("HF_HOME")) else None


def _problem(error: Exception, source: Source) -> str:
    repo, path, revision = source.hub_parts
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError) or status == 403:
        page = source.page.partition("/blob/")[0]
        return f"access is gated; accept the license on {page} and set HF_TOKEN to your token"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}"
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return f"the hub has no repository {repo}, or a private one; if private, set HF_TOKEN"
    if isinstance(error, LocalEntryNotFoundError):
        return f"the hub cannot be reached ({cause})"
    if isinstance(error, EntryNotFoundError):
        return f"{repo} has no file {path!r} at revision {revision!r}"
    return f"the hub's download failed ({type(error).__name__}: {error})"


@contextlib.contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """Hide the progress bars of the hub's library unless they are to be shown."""
    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
