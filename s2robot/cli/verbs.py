"""The commands of ``s2robot``: name, summary, examples, and the function that runs each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verb:
    """One command, ``s2robot NAME ...``."""

    name: str
    summary: str
    examples: tuple[str, ...]
    task: str
    """``module:function``; takes a Hydra configuration if ``hydra`` is set, else the arguments."""
    hydra: bool = True
    parse: str | None = None
    """``module:function`` called with the arguments before the task is imported, which prints the
    help or refuses a wrong word; its module needs no PyTorch. None where Hydra reads them."""
    begin: str | None = None
    """``module:function`` called with the arguments first, which returns further arguments; makes
    the command a Hydra multirun."""
    finish: str | None = None
    """``module:function`` called with the arguments after all jobs; returns the exit status."""


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "collect",
            "Collect demonstrations from the scripted expert into a robomimic HDF5 file.",
            (
                "s2robot collect level=precise episodes=120",
                "s2robot collect level=easy out=data/easy.hdf5 seed=1",
                "s2robot collect level=easy env.yaw_range_rad=0.5",
            ),
            "s2robot.cli.hydra_commands:collect",
        ),
        Verb(
            "features",
            "Encode the frames of demonstrations and store the embeddings.",
            (
                "s2robot features level=precise encoder=s2r-vitt16-128 'scales=[1,2]'",
                "s2robot features data=lift.hdf5 'cameras=[agentview]'",
            ),
            "s2robot.cli.hydra_commands:features",
        ),
        Verb(
            "pretrain",
            "Pre-train an encoder by masked autoencoding, on rendered frames or your own.",
            (
                "s2robot pretrain out=runs/pretrain",
                "s2robot pretrain recipe=vits out=runs/vits        # or vitb, vitl",
                "s2robot pretrain 'source=[photos,run1.mp4,demos.hdf5]' out=runs/mine",
                "s2robot pretrain 'sampling.scales=[1]' 'sampling.weights=[1]'  # whole frames",
                "torchrun --nproc_per_node=8 $(which s2robot) pretrain recipe=vitb",
                "s2robot features encoder=file:runs/pretrain/encoder.json",
            ),
            "s2robot.cli.hydra_commands:pretrain",
        ),
        Verb(
            "train",
            "Train a behavior-cloning policy on the embeddings of demonstrations.",
            (
                "s2robot train level=precise 'scales=[1,2]' policy=mlp seed=0",
                "s2robot train encoder=random/vitt16-128 policy=rnn_gmm budget=quick",
                "s2robot train encoder=privileged_state  # a baseline; also: blind",
                "s2robot train data=lift.hdf5 'cameras=[agentview]'  # your own demonstrations",
                "s2robot train data=bags action=/command             # a folder of ROS bags",
            ),
            "s2robot.cli.hydra_commands:train",
        ),
        Verb(
            "eval",
            "Evaluate a policy from fixed initial states and print its success rate.",
            (
                "s2robot eval checkpoint=runs/cells/NAME/policy.safetensors n=64 split=test",
                "s2robot eval checkpoint=NAME/policy.safetensors "
                "rollout.realtime=true rollout.latency_ms=250",
                "s2robot eval checkpoint=FILE task=pick-cube/easy 'observations={state: ee_pos}'",
                "s2robot eval checkpoint=FILE task=pick-cube/easy "
                "'observations={/tool/pose:position: ee_pos}'  # trained on ROS bags",
                "s2robot eval policy=own:make task=pick-cube/easy n=64  # one that is not ours",
                "s2robot eval policy=robomimic:model.pth task=pick-cube/easy external.size=84",
                "s2robot eval policy=ws://localhost:8000 task=pick-cube/easy external.execute=5",
            ),
            "s2robot.cli.hydra_commands:evaluate",
        ),
        Verb(
            "sweep",
            "Train and evaluate every combination of settings, then write the report.",
            (
                "s2robot sweep 'scales=[1],[1,2],[1,2,3]' seed=0,1,2 level=easy,precise",
                "s2robot sweep encoder=s2r-vitt16-128,random/vitt16-128,privileged_state,blind",
                "s2robot sweep hydra/launcher=joblib hydra.launcher.n_jobs=4",
            ),
            "s2robot.cli.hydra_commands:sweep_run",
            begin="s2robot.cli.hydra_commands:sweep_begin",
            finish="s2robot.cli.hydra_commands:sweep_finish",
        ),
        Verb(
            "progress",
            "Show what the runs of a sweep do, on this and on other machines.",
            ("s2robot progress runs", "s2robot progress runs --watch"),
            "s2robot.cli.sweeps.progress:main",
            hydra=False,
            parse="s2robot.cli.sweeps.progress:parse",
        ),
        Verb(
            "decide",
            "Train seed after seed until each pair of variants is decided, then stop.",
            (
                "s2robot decide 'scales=[1],[1,2]' --max-seeds 32",
                "s2robot decide encoder=s2r-vitt16-128,random/vitt16-128 --margin 10 n=32",
            ),
            "s2robot.cli.decide:main",
            hydra=False,
            parse="s2robot.cli.parsers.decide:parse",
        ),
        Verb(
            "plan",
            "Say how many training seeds and initial states a difference needs.",
            (
                "s2robot plan --difference 10",
                "s2robot plan --difference 5 --comparisons 3 --runs runs/cells",
            ),
            "s2robot.cli.plan:main",
            hydra=False,
            parse="s2robot.cli.parsers.plan:parse",
        ),
        Verb(
            "report",
            "Write one HTML page, a picture and the numbers (JSON) from evaluated runs.",
            (
                "s2robot report runs/cells --out runs/report",
                "s2robot report runs/cells --hz 30",
                "s2robot report runs/cells --junit report.xml --fail-on worse",
            ),
            "s2robot.cli.report:main",
            hydra=False,
            parse="s2robot.cli.parsers.report:parse",
        ),
        Verb(
            "replay",
            "Show an episode again from its exact start, and compare it with its row.",
            (
                "s2robot replay runs/cells/NAME 3",
                "s2robot replay NAME 3 --view both --steps steps.csv",
            ),
            "s2robot.cli.episodes.replay:main",
            hydra=False,
            parse="s2robot.cli.parsers.replay:parse",
        ),
        Verb(
            "export-dataset",
            "Write demonstrations or rollouts, with frames, as a LeRobot folder or robomimic file.",
            (
                "s2robot export-dataset data/demos/easy.hdf5 lerobot/easy --size 128",
                "s2robot export-dataset demos.hdf5 images.hdf5 --camera front wrist --size 84",
                "s2robot export-dataset runs/cells/NAME rollouts.hdf5",
            ),
            "s2robot.cli.episodes.export_dataset:main",
            hydra=False,
            parse="s2robot.cli.parsers.export_dataset:parse",
        ),
        Verb(
            "robomimic-cache",
            "Turn the images of a robomimic file into embeddings that robomimic trains on.",
            (
                "s2robot robomimic-cache images.hdf5 embeddings.hdf5",
                "s2robot robomimic-cache images.hdf5 embeddings.hdf5 --encoder efficientnet-lite0",
            ),
            "s2robot.cli.episodes.robomimic_cache:main",
            hydra=False,
            parse="s2robot.cli.parsers.robomimic_cache:parse",
        ),
        Verb(
            "robomimic-train",
            "Train a policy with robomimic, its own loop and networks, with the core S2Core.",
            (
                "s2robot robomimic-train --config bc.json",
                "s2robot robomimic-train --config bc.json --dataset embeddings.hdf5 --epochs 20",
            ),
            "s2robot.cli.episodes.robomimic_train:main",
            hydra=False,
            parse="s2robot.cli.episodes.robomimic_train:parse",
        ),
        Verb(
            "compare",
            "Give one verdict on two variants, with an exit status for scripts and CI.",
            (
                "s2robot compare runs/cells 's2r-vitt16-128 (1)' 's2r-vitt16-128 (1,2)'",
                "s2robot compare main/cells branch/cells --accept better,equivalent",
            ),
            "s2robot.cli.compare:main",
            hydra=False,
            parse="s2robot.cli.parsers.compare:parse",
        ),
        Verb(
            "demo",
            "Compare scales (1) and (1,2) of the shipped encoder, from demonstrations to report.",
            ("s2robot demo", "s2robot demo --quick"),
            "s2robot.cli.demo:main",
            hydra=False,
            parse="s2robot.cli.demo:parse",
        ),
        Verb(
            "encoders",
            "List all encoders; show, download or verify one.",
            (
                "s2robot encoders",
                "s2robot encoders mvp-vitb-egosoup",
                "s2robot encoders verify r3m-resnet50",
            ),
            "s2robot.cli.encoders:main",
            hydra=False,
            parse="s2robot.cli.parsers.encoders:parse",
        ),
        Verb(
            "bench",
            "Time an encoder frame by frame on this machine; --hz checks a frame rate.",
            (
                "s2robot bench s2r-vitt16-128 --scales '[1,2]' --hz 30",
                "s2robot bench --runtime eager openvino openvino-int8 --calibrate episode.mp4",
            ),
            "s2robot.cli.bench:main",
            hydra=False,
            parse="s2robot.cli.parsers.bench:parse",
        ),
        Verb(
            "probe",
            "Measure what frozen features encode: position, grasp, segmentation, depth.",
            (
                "s2robot probe --quick",
                "s2robot probe s2r-vitt16-128 --scales '[1],[1,2]' --layers last 5",
            ),
            "s2robot.cli.probe:main",
            hydra=False,
            parse="s2robot.cli.parsers.probe:parse",
        ),
        Verb(
            "recommend",
            "Choose encoder and scales for your data, machine and deadline, without rollouts.",
            (
                "s2robot recommend pick-cube/precise --hz 10",
                "s2robot recommend camera.mp4 --ms 33 --encoder s2r-vitt16-128 efficientnet-lite0",
            ),
            "s2robot.cli.recommend.command:main",
            hydra=False,
            parse="s2robot.cli.parsers.recommend:parse",
        ),
        Verb(
            "export",
            "Export an encoder, preprocessing included, as one checked ONNX file.",
            (
                "s2robot export s2r-vitt16-128 --scales '[1,2]' --frame 480x640 --out encoder.onnx",
                "s2robot export --policy policy.safetensors --frame 480x640 --out policy.onnx",
            ),
            "s2robot.cli.export:main",
            hydra=False,
            parse="s2robot.cli.parsers.export:parse",
        ),
        Verb(
            "encode-bag",
            "Convert a ROS 1 or ROS 2 bag of images to a bag of embeddings.",
            (
                "s2robot encode-bag run.mcap out.mcap --scales '[1,2]' --copy /joint_states",
                "s2robot encode-bag run.bag run.embeddings.bag --policy policy.safetensors",
            ),
            "s2robot.cli.encode_bag:main",
            hydra=False,
            parse="s2robot.cli.parsers.encode_bag:parse",
        ),
        Verb(
            "ros2-node",
            "Start the ROS 2 node: camera images to embeddings and, with a policy, actions.",
            (
                "s2robot ros2-node --ros-args -r image:=/camera/image_raw",
                "s2robot ros2-node --ros-args -p policy:=policy.safetensors",
            ),
            "s2robot.cli.ros.nodes:run_ros2",
            hydra=False,
            parse="s2robot.cli.ros.nodes:parse_ros2",
        ),
        Verb(
            "ros2-camera",
            "Publish the frames of a recording or a webcam as a camera of ROS 2.",
            ("s2robot ros2-camera run.mp4 --hz 15", "s2robot ros2-camera 0"),
            "s2robot.cli.ros.camera:main",
            hydra=False,
            parse="s2robot.cli.ros.camera:parse",
        ),
        Verb(
            "ros2-record",
            "Record topics of ROS 2 to a bag, on machines without an installed ROS 2.",
            ("s2robot ros2-record run.mcap /camera/image_raw /joint_states",),
            "s2robot.cli.ros.recorder:main",
            hydra=False,
            parse="s2robot.cli.ros.recorder:parse",
        ),
        Verb(
            "ros1-node",
            "Start the ROS 1 node: camera images to embeddings and, with a policy, actions.",
            (
                "s2robot ros1-node image:=/camera/image_raw",
                "s2robot ros1-node image:=/camera/image_raw _policy:=policy.safetensors",
            ),
            "s2robot.cli.ros.nodes:run_ros1",
            hydra=False,
            parse="s2robot.cli.ros.nodes:parse_ros1",
        ),
        Verb(
            "reconstruct",
            "Measure how much of a larger encoder's features a smaller one recovers.",
            (
                "s2robot reconstruct --target vc1-vitl --source vc1-vitb --scales '[1],[1,2]'",
                "s2robot reconstruct --target file:runs/big/encoder.json --source s2r-vitt16-128",
            ),
            "s2robot.cli.reconstruct:main",
            hydra=False,
            parse="s2robot.cli.parsers.reconstruct:parse",
        ),
        Verb(
            "doctor",
            "Check renderer, GPU, package versions and weights; print how to fix problems.",
            ("s2robot doctor",),
            "s2robot.cli.doctor:main",
            hydra=False,
            parse="s2robot.cli.doctor:parse",
        ),
    )
}


def load(task: str) -> Callable[..., Any]:
    """Import and return the function that ``module:function`` names."""
    module, function = task.split(":")
    return getattr(importlib.import_module(module), function)
