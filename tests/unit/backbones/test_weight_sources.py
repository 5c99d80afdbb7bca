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
