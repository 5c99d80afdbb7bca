"""Record the outputs of a small fixed run, to compare two builds byte for byte.

Run it once with each build's interpreter, on one machine, and compare the two files:

    PYTHON_OF_OLD_BUILD benchmarks/same_outputs.py --out old.json
    python benchmarks/same_outputs.py --out new.json --against old.json

It runs the command line as a user would (demonstrations, features, policies, rollouts, report) and
embeds frames with three encoders. Clock times and the machine's record are left out; all else must
agree to the last byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SETTINGS = [
    "level=easy",
    "demos.episodes=6",
    "train.epochs=3",
    "search={trials:2,epochs:2}",
]
ROLLOUT = ["n=8", "rollout.num_envs=4", "rollout.horizon=24", "rollout.videos=1", "camera.size=256"]
ENCODERS = (
    ("s2r-vitt16-128", {"scales": (1, 2), "readout": "published"}),
    ("s2r-vitt16-128", {"scales": (1, 2, 3), "readout": "spatial_softmax", "geometry": "padded"}),
    ("random/resnet18-224", {"scales": (1, 2), "readout": "mean", "input_mode": "interpolate"}),
    ("random/vitt16-128", {"scales": (1,), "readout": "cls", "taps": (5, 11)}),
)
VOLATILE = {"provenance", "latency_ms", "latency_ms_one_frame", "latency", "seconds", "sha256"} | {
    "eval_s",
    "eval_ep_s",
}
"""Keys of JSON that hold clock times, the machine's record, or a digest over that record."""


def main() -> int:
    """Record, and compare where asked; the exit status is 1 where something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file for the digests")
    parser.add_argument("--against", type=Path, help="a file of another build to compare with")
    arguments = parser.parse_args()
    os.environ["S2ROBOT_RUNTIME"] = "eager"  # a choice by time would change last digits
    with tempfile.TemporaryDirectory() as folder:
        record = _features() | _chain(Path(folder))
    arguments.out.write_text(
        json.dumps({"machine": _machine(), "digests": record}, indent=1) + "\n"
    )
    print(f"{len(record)} outputs recorded in {arguments.out}")
    if arguments.against is None:
        return 0
    return _compare(json.loads(arguments.against.read_text())["digests"], record)


def _compare(old: dict[str, str], new: dict[str, str]) -> int:
    differing = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    for name in differing:
        print(f"differs: {name}: {old.get(name)} -> {new.get(name)}")
    print(f"{len(old)} outputs before, {len(new)} now, {len(differing)} differ")
    return int(bool(differing))


def _features() -> dict[str, str]:
    import numpy as np

    from s2robot import FrameEncoder

    frames = np.random.default_rng(7).integers(0, 256, (3, 300, 400, 3), dtype=np.uint8)
    found = {}
    for name, options in ENCODERS:
        encoder = FrameEncoder.from_name(name, device="cpu", dtype="float32", **options)
        key = f"features/{name} {options}"
        found[key] = _sha256(encoder(frames).numpy().tobytes())
        found[f"{key}/spec"] = encoder.spec.digest()
        stream = encoder.stream()
        found[f"{key}/stream"] = _sha256(b"".join(stream(f).numpy().tobytes() for f in frames))
    return found


def _chain(folder: Path) -> dict[str, str]:
    places = [f"data_dir={folder / 'data'}", f"runs_dir={folder / 'runs'}"]
    for words in (
        ["collect", "level=easy", "episodes=6", places[0]],
        ["features", *SETTINGS[:2], "camera.size=256", places[0]],
        ["sweep", "scales=[1],[1,2]", "seed=0,1", *SETTINGS, *ROLLOUT, *places],
        ["sweep", "encoder=state,none", *SETTINGS, *ROLLOUT[:-1], *places],
    ):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, "-m", "s2robot.cli", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stdout}\n{done.stderr}")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): digest
        for path in paths
        if (digest := _digest_of(path, str(folder))) is not None
    }


def _digest_of(path: Path, folder: str) -> str | None:
    """Digest of a file's content without clock times; None for files of clock times or locks."""
    clocks = path.name == "timing.jsonl" or path.parent.name == "progress"
    if path.suffix in (".lock", ".png", ".html") or clocks:
        return None  # pictures and pages hold dates and latencies
    if path.name.startswith("events.out.tfevents"):
        return None
    if path.suffix == ".pt":
        return _checkpoint(path)
    if path.suffix in (".json", ".jsonl"):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        steady = [json.dumps(_steady(json.loads(line))) for line in lines]
        return _sha256("\n".join(steady).replace(folder, "").encode())
    if path.suffix == ".safetensors":
        return _safetensors(path.read_bytes())
    if path.suffix == ".hdf5":
        return _hdf5(path)
    return _sha256(path.read_bytes())


def _checkpoint(path: Path) -> str:
    """Digest of a training checkpoint's tensors and numbers; the archive around them varies."""
    import torch

    found: list[str] = []

    def visit(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                visit(f"{name}/{key}", item)
        elif isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                visit(f"{name}/{number}", item)
        elif isinstance(value, torch.Tensor):
            found.append(f"{name}:{value.dtype}:{_sha256(value.numpy().tobytes())}")
        elif "seconds" not in name:
            found.append(f"{name}={value!r}")

    visit("", torch.load(path, weights_only=True))
    return _sha256("\n".join(found).encode())


def _hdf5(path: Path) -> str:
    """Digest of all data sets and attributes; the container holds dates."""
    import h5py

    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        found.extend(
            f"{name}@{k}={v!r}" for k, v in sorted(item.attrs.items()) if k != "provenance"
        )
        if isinstance(item, h5py.Dataset):
            value = item[()]
            raw = value.tobytes() if hasattr(value, "tobytes") else repr(value).encode()
            found.append(f"{name}:{item.dtype}:{item.shape}:{_sha256(raw)}")

    with h5py.File(path, "r") as file:
        visit("/", file)
        file.visititems(visit)
    return _sha256("\n".join(_without_record(text) for text in found).encode())


def _without_record(text: str) -> str:
    return re.sub(r'"provenance": \{.*\}', "", text)


def _safetensors(content: bytes) -> str:
    """Digest of names, types, bytes and header of a safetensors file, provenance left out."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    meta = {k: _steady(_parsed(v)) for k, v in header.pop("__metadata__", {}).items()}
    meta = {key: value for key, value in meta.items() if key not in VOLATILE}
    return _sha256(json.dumps([header, meta], sort_keys=True).encode() + content[8 + length :])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in VOLATILE and not _is_policy_digest(k, v)}
        return {key: _steady(item) for key, item in kept.items()}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def _is_policy_digest(key: str, value: Any) -> bool:
    """Return whether an entry is the digest of a policy file, which is made of its commit too."""
    return key == "policy" and isinstance(value, str) and len(value) == 64


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _machine() -> dict[str, Any]:
    import torch

    from s2robot import __version__

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "s2robot": __version__,
    }


if __name__ == "__main__":
    sys.exit(main())
