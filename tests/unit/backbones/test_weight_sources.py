from __future__ import annotations

import pytest

from s2robot.backbones.weight_sources import Source


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a", "vit.pth", "hf:owner/a"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=url):
        Source(url)


@pytest.mark.parametrize("digest", ["abcdef12", "sha1:abcdef12", "md5:xyz", "sha256:AB12"])
def test_malformed_digests_are_refused(digest: str) -> None:
    with pytest.raises(ValueError, match=digest):
        Source("https://host/vit.pth", digest)


def test_archives_of_one_name_lie_apart() -> None:
    names = [Source(f"https://{host}/nets.zip").archive_name for host in ("a", "b")]
    assert names[0] != names[1]
    assert all(name.startswith("nets-") for name in names)


@pytest.mark.parametrize(
    "url",
    [
        "package:lab-weights:vit.pth",
        "package:lab-weights==1.0",
        "package:lab-weights>=1.0:vit.pth",
        "package:lab-weights==1.0:../vit.pth",
        "package:lab-weights==1.0:/etc/vit.pth",
        "package:lab-weights==1.0:lab\\..\\vit.pth",
        "package:--index-url==1.0:vit.pth",
    ],
)
def test_packages_without_one_version_and_a_path_inside_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not of the form package:NAME==VERSION:PATH"):
        Source(url, "sha256:abcdef")


def test_a_file_of_a_package_needs_its_digest() -> None:
    with pytest.raises(ValueError, match="needs the digest of the file"):
        Source("package:lab-weights==1.0:lab/vit.pth")


def test_a_package_is_shown_with_its_version_and_the_path_inside() -> None:
    source = Source("package:lab-weights==1.0:lab/vit.pth", "sha256:abcdef")
    assert source.package_parts == ("lab-weights", "1.0", "lab/vit.pth")
    assert (source.page, source.inside) == ("the package lab-weights==1.0", "lab/vit.pth")
