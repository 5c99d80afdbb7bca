"""The measurements of ``benchmarks/gpu.py``, one function a step; each returns what is stored.

A step runs in a process of its own. ``options.small`` makes everything tiny, for tests.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from per_scale import per_scale
from torch import Tensor

from s2robot import FrameEncoder
from s2robot.analysis.latency import WARM_UP_FRAMES, measure
from s2robot.preprocessing.image_pyramid import image_of
from s2robot.runtimes import RuntimeFailedError, RuntimeMissingError
from s2robot.utils.io import read_json, sha256_file

ROOT = Path(__file__).resolve().parents[1]
LARGE = "random/vitl16-224"
SCALE_SETS = ((1,), (1, 2), (1, 2, 3))
Path_ = Callable[[Any], Tensor]


def synchronize(device: str) -> None:
    """Wait for the GPU, or else time ends when work was handed over."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_a_call(run: Callable[[], Any], options: argparse.Namespace) -> float:
    """Median of three blocks of calls, each of about a second, after a warm-up."""
    for _ in range(1 if options.small else 2):
        run()
    synchronize(options.device)
    started = time.perf_counter()
    run()
    synchronize(options.device)
    once = time.perf_counter() - started
    calls = 1 if options.small else max(1, min(200, int(1 / once)))
    blocks = []
    for _ in range(1 if options.small else 3):
        started = time.perf_counter()
        for _ in range(calls):
            run()
        synchronize(options.device)
        blocks.append((time.perf_counter() - started) / calls)
    return float(np.median(blocks))


# ------------------------------------------------------------------------------------ machine
def machine(options: argparse.Namespace) -> dict[str, Any]:
    """The GPU, its driver, and the rate of matrix products in each precision."""
    side = 256 if options.small else 8192
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        one, other = (torch.randn(side, side, device=options.device).to(dtype) for _ in range(2))
        seconds = seconds_a_call(lambda one=one, other=other: one @ other, options)
        rates[str(dtype).removeprefix("torch.")] = 2 * side**3 / seconds / 1e12
    return {"matrix_side": side, "matrix_tflops": rates, "driver": _driver(), **_torch()}


def _driver() -> str | None:
    """The driver's version; nothing is set."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, timeout=60)
    return found.stdout.strip() or None


def _torch() -> dict[str, Any]:
    allowed = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    names = ("tf32_convolutions", "tf32_products")
    return {"cuda": torch.version.cuda, **dict(zip(names, allowed, strict=True))}


def render(options: argparse.Namespace) -> dict[str, Any]:
    """What draws, and milliseconds a frame of 384 x 384 px of each camera."""
    from s2robot.envs.levels import CAMERAS
    from s2robot.envs.pick_cube import PickCubeEnv
    from s2robot.envs.rendering import gl_info

    env, size, count = PickCubeEnv("precise"), 384, 2 if options.small else 200
    env.reset(seed=0)
    frame, times = np.empty((size, size, 3), np.uint8), {}
    for camera in CAMERAS:
        env.render_frame(camera, size, size, out=frame)
        started = time.perf_counter()
        for _ in range(count):
            env.render_frame(camera, size, size, out=frame)
        times[camera] = 1000 * (time.perf_counter() - started) / count
    return {**gl_info(), "frames": count, "milliseconds": times}


# -------------------------------------------------------------------------------------- tests
def tests(options: argparse.Namespace) -> dict[str, Any]:
    """The tests that need a GPU; elsewhere they are skipped."""
    files = [
        path for path in ROOT.glob("tests/unit/**/test_*.py") if "mark.gpu" in path.read_text()
    ]
    report = Path(options.work).absolute() / "tests.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        *map(str, sorted(files)[: 1 if options.small else None]),
    ]
    command += ["-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    subprocess.run(command, cwd=ROOT, check=False)
    suite = next(ElementTree.parse(report).iter("testsuite"))
    counts = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
    broken = [
        {"test": case.get("name"), "message": found.get("message", "")[:400]}
        for case in suite.iter("testcase")
        for found in [*case.iter("failure"), *case.iter("error")]
    ]
    return {**counts, "broken": broken}


# ------------------------------------------------------------------------------------- encoder
def encoders(
    options: argparse.Namespace, name: str, scales: tuple[int, ...], wanted: list[tuple[str, str]]
) -> tuple[dict[str, FrameEncoder], dict[str, str]]:
    """Encoders by "runtime dtype", and why others are missing."""
    made, left_out = {}, {}
    for runtime, dtype in wanted:
        label = f"{runtime} {dtype}"
        try:
            made[label] = FrameEncoder.from_name(
                "random/vitt16-128" if options.small else name,
                scales,
                "spatial_softmax",
                input_mode="interpolate",
                device=options.device,
                dtype=dtype,
                runtime=runtime,
                max_tiles_per_batch=512,
            )
        except (RuntimeMissingError, RuntimeFailedError) as error:
            left_out[label] = str(error)
    return made, left_out


def baseline(encoder: FrameEncoder) -> Path_:
    """The published algorithm, scale by scale, with the encoder's weights in float32."""
    model, card, spec = encoder.token_model, encoder.backbone.card, encoder.layout.spec
    mean, std, pixels = model.get_buffer("mean"), model.get_buffer("std"), card.preprocessing
    scales, side = list(spec.scales), (pixels.image_size, pixels.image_size)

    @torch.inference_mode()
    def run(frames: Any) -> Tensor:
        images = torch.as_tensor(frames).to(encoder.device)
        images = (images if images.ndim == 4 else images[None]).permute(0, 3, 1, 2)
        image = (image_of(images, pixels, side, spec.geometry).float() - mean) / std
        return per_scale(encoder.backbone, image, scales, card.num_prefix_tokens).flatten(1)

    return run


def noise(count: int, options: argparse.Namespace) -> np.ndarray:
    """Frames ``(count, S, S, 3)`` uint8."""
    size = 64 if options.small else 384
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


ALL_PATHS = [
    ("eager", "float32"), ("cuda-graph", "float32"), ("eager", "bfloat16"),
    ("cuda-graph", "bfloat16"), ("compile", "bfloat16"),
]  # fmt: skip
BATCH_PATHS = [("eager", "float32"), ("eager", "bfloat16"), ("cuda-graph", "bfloat16")]


def latency(options: argparse.Namespace) -> dict[str, Any]:
    """One frame of one camera through ViT-L/16 (1,2,3), with every runtime."""
    scales = (1, 2) if options.small else (1, 2, 3)
    paths = ALL_PATHS[:-1] if options.small else ALL_PATHS  # compiling takes a minute
    made, left_out = encoders(options, LARGE, scales, paths)
    frames = noise(4 if options.small else 200 + WARM_UP_FRAMES, options)
    runs: dict[str, Any] = {"per scale float32": baseline(made["eager float32"])}
    runs |= {label: e.single_frame(*frames.shape[1:3]) for label, e in made.items()}
    rows = [vars(row) for row in measure(runs, frames)]
    return {"encoder": LARGE, "scales": scales, "rows": rows, "left_out": left_out}


def throughput(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Frames a second by scales, batch, runtime and precision; frames start in ordinary memory."""
    rows, missing = [], {}
    for scales in SCALE_SETS[: 2 if options.small else None]:
        made, left_out = encoders(options, name, scales, BATCH_PATHS)
        missing |= left_out
        first = made["eager float32"]
        runs: dict[str, Path_] = {"per scale float32": baseline(first), **made}
        for batch in (2,) if options.small else (1, 16, 64):
            frames = noise(batch, options)
            for label, run in runs.items():
                seconds = seconds_a_call(lambda run=run, frames=frames: run(frames), options)
                tflops = first.gflops_per_frame * batch / seconds / 1000
                row = {"scales": scales, "batch": batch, "path": label, "tflops": tflops}
                rows.append({**row, "frames_a_second": batch / seconds})
    return {"encoder": name, "rows": rows, "left_out": missing}


def compiled(options: argparse.Namespace) -> dict[str, Any]:
    """``torch.compile`` in bfloat16 against eager on batches, and seconds until it is ready."""
    wanted = [("eager", "bfloat16")] + ([] if options.small else [("compile", "bfloat16")])
    started = time.perf_counter()
    made, left_out = encoders(options, LARGE, (1, 2, 3), wanted)
    ready = time.perf_counter() - started
    frames = noise(2 if options.small else 32, options)
    rows = {
        k: len(frames) / seconds_a_call(lambda e=e: e(frames), options) for k, e in made.items()
    }
    return {"ready_s": ready, "batch": len(frames), "frames_a_second": rows, "left_out": left_out}


# ------------------------------------------------------------------------------------ rollouts
def command(options: argparse.Namespace, *words: str) -> float:
    """Run a command of s2robot in the work folder; return its seconds from start to end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "s2robot.cli.main", *words], cwd=options.work, check=True)
    return time.perf_counter() - started


def policy(options: argparse.Namespace) -> dict[str, Any]:
    """Collect demonstrations and train the policy that later steps roll out.

    A file ``policy.safetensors`` that was carried into the work folder takes its place.
    """
    carried = Path(options.work) / "policy.safetensors"
    if carried.exists():
        return {"carried": sha256_file(carried)}
    words = ["level=easy", "scales=[1,2]", "runs_dir=policy", "seed=0", f"device={options.device}"]
    if options.small:
        words += ["encoder=random/vitt16-128", "camera.size=64", "demos.episodes=4"]
        words += ["budget=none", "train.epochs=1"]
    seconds = command(options, "train", *words)
    return {"seconds": seconds, "settings": words}


def checkpoint(options: argparse.Namespace) -> Path:
    """The policy of ``policy``, or the one that was carried."""
    work = Path(options.work).absolute()
    found = [*sorted(work.glob("policy/cells/*/policy.safetensors")), work / "policy.safetensors"]
    return next(path for path in reversed(found) if path.exists())


def rollout_words(options: argparse.Namespace, envs: int, workers: int, n: int) -> list[str]:
    """Settings of an evaluation in a folder of its own."""
    out = Path(options.work).absolute() / "eval" / f"{envs}-{workers}-{n}"
    shutil.rmtree(out, ignore_errors=True)  # a timed run begins at nothing
    words = [
        f"checkpoint={checkpoint(options)}",
        f"out={out}",
        f"n={n}",
        f"device={options.device}",
    ]
    words += [f"rollout.num_envs={envs}", f"rollout.workers={workers}", "rollout.videos=0"]
    return words + (["rollout.horizon=4"] if options.small else [])


def _workers(options: argparse.Namespace) -> int:
    return 0 if options.small else len(os.sched_getaffinity(0))


def cell(options: argparse.Namespace) -> dict[str, Any]:
    """An evaluation on 1,000 initial states, from the command's start to its end."""
    envs, n = (2, 2) if options.small else (64, 1000)
    words = rollout_words(options, envs, _workers(options), n)
    seconds = command(options, "eval", *words, "runtime=auto")
    summary = read_json(Path(words[1].removeprefix("out=")) / "summary.json")
    return {"seconds": seconds, "n": n, "num_envs": envs, "summary": summary}


def rollouts(options: argparse.Namespace) -> dict[str, Any]:
    """Episodes a second: batches against one environment, frame and policy call at a time."""
    cases = {"plain": (1, 0, (1, 2) if options.small else (2, 8))}
    cases["batched"] = (2, 0, (2, 4)) if options.small else (64, _workers(options), (64, 448))
    rates: dict[str, Any] = {}
    for name, (envs, workers, counts) in cases.items():
        seconds = [
            command(options, "eval", *rollout_words(options, envs, workers, n)) for n in counts
        ]
        # the difference leaves out what both runs spend on their start
        rate = (counts[1] - counts[0]) / max(seconds[1] - seconds[0], 1e-9)
        rates[name] = {"num_envs": envs, "workers": workers, "n": counts, "seconds": seconds}
        rates[name]["episodes_a_second"] = rate
    plain, batched = (rates[name]["episodes_a_second"] for name in ("plain", "batched"))
    return {**rates, "ratio": batched / plain}


# ---------------------------------------------------------------------------------- pre-training
def pretrain_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Crops a second of pre-training against a plain loop."""
    if options.small:
        return {"skipped": "benchmarks/pretrain_speed.py has no tiny size"}
    out = Path(options.work).absolute() / "pretrain_speed.json"
    words = ["--recipe", "vitb", "--img-size", "224", "--batch", "512", "--out", str(out)]
    script = ROOT / "benchmarks" / "pretrain_speed.py"
    subprocess.run([sys.executable, str(script), *words], cwd=options.work, check=True)
    return read_json(out)


def ladder(options: argparse.Namespace, piece: str) -> dict[str, Any]:
    """A piece of ``benchmarks/ladder.sh``; a call that is cut goes on in the next."""
    if options.small and piece != "pretrain":
        return {"skipped": f"{piece} has no tiny size"}
    tools = Path(options.work).absolute() / "bin"
    tools.mkdir(exist_ok=True)
    own = tools / "s2robot"
    own.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m s2robot.cli.main "$@"\n')
    own.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PIECES": piece}
    if options.small:
        tiny = "frames=8 frame_size=64 model.img_size=32 batch_size=4 compile=off processes=1"
        environment |= {
            "VIEWS": "8",
            "SIZES": "vitt",
            "PRETRAIN": f"{tiny} device={options.device}",
        }
    started = time.perf_counter()
    script = ROOT / "benchmarks" / "ladder.sh"
    subprocess.run(["bash", str(script), "ladder"], cwd=options.work, env=environment, check=True)
    seconds = time.perf_counter() - started
    return {"piece": piece, "seconds_of_last_call": seconds, "files": _reports(options)}


def _reports(options: argparse.Namespace) -> dict[str, Any]:
    """Reports that the ladder has written so far."""
    folder = Path(options.work).absolute() / "ladder"
    found = [*folder.glob("*/probes.json"), *folder.glob("*/reconstruct.json")]
    found += folder.glob("sweep/report/report.json")
    return {str(path.relative_to(folder)): read_json(path) for path in sorted(found)}


def host() -> dict[str, Any]:
    """What ``provenance`` does not hold about a box."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "kernel": platform.release(),
    }
