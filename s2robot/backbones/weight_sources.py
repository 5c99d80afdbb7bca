"""Sources of published files: the web, Google Drive, the Hugging Face hub or a Python package."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from s2robot.errors import DownloadError
from s2robot.utils.io import hash_file, sha256_bytes

_DRIVE_ID = re.compile(
    r"https?://(?:drive|docs|drive\.usercontent)\.google\.com/.*?(?:[?&]id=|/d/)([\w-]+)"
)
_HUB_URL = re.compile(r"hf:(?P<repo>[^/@]+/[^/@]+)/(?P<path>[^@]+?)(?:@(?P<revision>[^@]+))?")
_PACKAGE_URL = re.compile(
    r"package:(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+):(?P<path>[^:]+)"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{6,64}|md5:[0-9a-f]{6,32}")


@dataclass(frozen=True)
class Source:
    """One place that offers a published file.

    Examples:
        >>> source = Source("hf:lab/encoder/model.pt@v1", digest="md5:8cad7c")
        >>> source.hub_parts
        ('lab/encoder', 'model.pt', 'v1')
    """

    url: str
    """``https://...``, a Google Drive link (``.../uc?id=ID`` or ``.../file/d/ID/view``),
    ``hf:OWNER/REPO/PATH[@REVISION]`` on the Hugging Face hub, or
    ``package:NAME==VERSION:PATH``, a file in a Python package."""
    digest: str = ""
    """``sha256:HEX`` or ``md5:HEX`` of the download, or of a package's file; HEX may be just its
    beginning."""
    member: str = ""
    """Path inside, where the download is a zip archive."""

    def __post_init__(self) -> None:
        if self.on_hub:
            if not _HUB_URL.fullmatch(self.url):
                raise ValueError(f"{self.url!r} is not of the form hf:OWNER/REPO/PATH[@REVISION]")
        elif self.in_package:
            self._check_package()
        elif not is_web(self.url):
            raise ValueError(f"{self.url!r} must begin with https://, http://, hf: or package:")
        if self.digest and not _DIGEST.fullmatch(self.digest):
            raise ValueError(
                f"digest {self.digest!r} must be sha256: or md5: and at least 6 of its hexadecimal "
                "digits, in lower case"
            )

    def _check_package(self) -> None:
        match = _PACKAGE_URL.fullmatch(self.url)
        path = match["path"] if match else ""
        if not match or path.startswith("/") or {"", ".", ".."} & set(re.split(r"[/\\]", path)):
            raise ValueError(
                f"{self.url!r} is not of the form package:NAME==VERSION:PATH, where PATH is that "
                "of a file in the package, with /"
            )
        if not self.digest or self.member:
            raise ValueError(
                f"{self.url!r} needs the digest of the file, and no member; got "
                f"{self.digest!r} and {self.member!r}"
            )

    @property
    def in_package(self) -> bool:
        """Whether the file is in a Python package."""
        return self.url.startswith("package:")

    @property
    def package_parts(self) -> tuple[str, str, str]:
        """``(name, version, path)`` of a file in a Python package."""
        match = _PACKAGE_URL.fullmatch(self.url)
        if match is None:
            raise ValueError(f"{self.url!r} is not in a package")
        return match["name"], match["version"], match["path"]

    @property
    def inside(self) -> str:
        """Path of the file within what a person gets from ``page``; empty: that is the file."""
        return self.package_parts[2] if self.in_package else self.member

    @property
    def on_hub(self) -> bool:
        """Whether the file is on the Hugging Face hub."""
        return self.url.startswith("hf:")

    @property
    def hub_parts(self) -> tuple[str, str, str]:
        """``(OWNER/REPO, path, revision)`` on the Hugging Face hub."""
        match = _HUB_URL.fullmatch(self.url)
        if match is None:
            raise ValueError(f"{self.url!r} is not on the hub")
        return match["repo"], match["path"], match["revision"] or "main"

    @property
    def drive_id(self) -> str:
        """Google Drive's identifier of the file; empty elsewhere."""
        match = _DRIVE_ID.match(self.url)
        return match[1] if match else ""

    @property
    def page(self) -> str:
        """Address at which a person gets the file with a browser, or the package that has it."""
        if self.on_hub:
            repo, path, revision = self.hub_parts
            endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
            return f"{endpoint.rstrip('/')}/{repo}/blob/{revision}/{path}"
        if self.in_package:
            name, version, _ = self.package_parts
            return f"the package {name}=={version}"
        if self.drive_id:
            return f"https://drive.google.com/file/d/{self.drive_id}/view"
        return self.url

    @property
    def archive_name(self) -> str:
        """File name of the zip archive on disk, shared by all sources with a member of it."""
        name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(self.url).path.rpartition("/")[2]))
        return f"{name.removesuffix('.zip')}-{sha256_bytes(self.url.encode())[:8]}.zip"

    def check_digest(self, path: Path) -> None:
        """Compare a download with the digest, if there is one.

        Raises:
            DownloadError: they differ.
        """
        if not self.digest:
            return
        kind, _, digits = self.digest.partition(":")
        seen = hash_file(path, kind)
        if not seen.startswith(digits):
            raise DownloadError(
                f"{path.stat().st_size} bytes came with the {kind} {seen}, but "
                f"{digits} was published; the file was replaced or damaged"
            )


def is_web(url: str) -> bool:
    """Return whether an address is https:// or http://."""
    return urlsplit(url).scheme in ("https", "http")
