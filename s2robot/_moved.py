"""Old module and class names, which still import for one release, with a warning.

``s2robot.features`` became ``s2robot.data.feature_store``, and so on. The finder below makes the
old names import: reading an attribute of an old module reads it from the new one.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

from s2robot._moved_names import NAMES
from s2robot.utils.deprecation import warn_renamed

MODULES = {
    "arguments": "cli.arguments",
    "arms": "experiments.variant",
    "backbones.cache": "backbones.download.cache",
    "backbones.cards": "backbones.card",
    "backbones.catalogue": "backbones.registry",
    "backbones.cost": "backbones.flops",
    "backbones.foreign": "backbones.from_module",
    "backbones.hub": "backbones.download.hub",
    "backbones.layouts": "backbones.state_dicts",
    "backbones.model": "backbones.backbone",
    "backbones.model_cards": "backbones.card_files",
    "backbones.parts": "backbones.download.partial_files",
    "backbones.probing": "backbones.introspection",
    "backbones.reference": "analysis.parity.reference_models",
    "backbones.robot_cards": "backbones.robotics_models",
    "backbones.sources": "backbones.weight_sources",
    "backbones.taps": "backbones.intermediate_layers",
    "backbones.transformers_families": "backbones.huggingface.families",
    "backbones.transformers_models": "backbones.huggingface.models",
    "backbones.transformers_pixels": "backbones.huggingface.image_processors",
    "backbones.vision_cards": "backbones.general_models",
    "backbones.web": "backbones.download.http",
    "backbones.weights": "backbones.checkpoints",
    "bench": "analysis.latency",
    "cameras": "encoder.multi_camera",
    "cells": "reporting.run_results",
    "collect": "data.collection",
    "commands": "cli.hydra_commands",
    "conditions": "evaluation.initial_states",
    "controls": "evaluation.baselines",
    "demo": "cli.demo",
    "demos": "data.demonstrations",
    "devices": "utils.devices",
    "doctor": "cli.doctor",
    "encode_bag_command": "cli.encode_bag",
    "encoders": "cli.encoders",
    "envs.appearance": "envs.visual_perturbations",
    "envs.arm": "envs.panda",
    "envs.control": "envs.controllers",
    "envs.patterns": "envs.textures",
    "envs.randomize": "envs.domain_randomization",
    "envs.segmentation": "envs.scene",
    "envs.segments": "envs.scene",
    "evaluate": "evaluation.evaluate",
    "export_command": "cli.export",
    "features": "data.feature_store",
    "figures": "reporting.plots",
    "files": "utils.io",
    "finite": "encoder.nonfinite",
    "frame_pools": "pretraining.frame_dataset",
    "frame_sources": "data.frame_sources",
    "frames": "data.rendered_frames",
    "graph": "export.module",
    "head_search": "training.hyperparameter_search",
    "home": "utils.paths",
    "latency": "encoder.single_frame",
    "lockstep": "evaluation.vector_env",
    "mae": "pretraining.masked_autoencoder",
    "matrices": "preprocessing.resize_matrices",
    "optim": "utils.optim",
    "oracles": "analysis.parity.original_packages",
    "padding": "preprocessing.padding",
    "pipeline": "experiments.pipeline",
    "pixels": "preprocessing.image_pyramid",
    "plugins.bags": "data.rosbag",
    "plugins.bags.copying": "data.rosbag.copying",
    "plugins.bags.encoding": "plugins.ros.encode_bag",
    "plugins.bags.messages": "data.rosbag.messages",
    "plugins.bags.reading": "data.rosbag.reading",
    "plugins.bags.writing": "data.rosbag.writing",
    "plugins.ros.core.colours": "data.ros_messages.color_conversion",
    "plugins.ros.core.demand": "plugins.ros.core.lazy_subscription",
    "plugins.ros.core.images": "data.ros_messages.images",
    "plugins.ros.core.joints": "plugins.ros.core.policy.proprioception",
    "plugins.ros.core.outputs": "plugins.ros.core.message_builders",
    "plugins.ros.core.reports": "plugins.ros.core.log_throttle",
    "plugins.ros.core.results": "plugins.ros.core.embedding_result",
    "plugins.ros.core.stamps": "data.ros_messages.stamps",
    "plugins.ros.core.streams": "plugins.ros.core.camera_encoder",
    "plugins.ros.core.synchronise": "plugins.ros.core.time_synchronizer",
    "plugins.ros.core.topics": "plugins.ros.core.config",
    "plugins.ros.definitions": "data.ros_messages.definitions",
    "policies.data": "policies.dataset",
    "policies.heads": "policies.pooling",
    "pretrain": "pretraining.trainer",
    "pretrain_card": "pretraining.export",
    "pretrain_config": "pretraining.config",
    "pretrain_diary": "pretraining.logger",
    "pretrain_machine": "pretraining.hardware",
    "pretrain_pictures": "pretraining.visualization",
    "pretrain_sources": "pretraining.frame_sources",
    "probe_command": "cli.probe",
    "probes": "analysis.probes",
    "probes.dense": "analysis.probes.dense",
    "probes.grids": "analysis.probes.grids",
    "probes.intervals": "analysis.probes.intervals",
    "probes.linear": "analysis.probes.linear",
    "probes.localisation": "analysis.probes.localization",
    "probes.localiser": "analysis.probes.localizer",
    "probes.metrics": "analysis.probes.metrics",
    "probes.pictures": "analysis.probes.pictures",
    "probes.scenes": "analysis.probes.scenes",
    "probes.study": "analysis.probes.study",
    "probes.tasks": "analysis.probes.tasks",
    "processes": "utils.distributed",
    "progress": "utils.progress",
    "provenance": "utils.provenance",
    "readout": "encoder.readout",
    "reconstruct": "analysis.reconstruction.regression",
    "reconstruct_command": "cli.reconstruct",
    "reconstruct_passes": "analysis.reconstruction.passes",
    "reconstruct_sources": "analysis.reconstruction.sources",
    "reconstruct_study": "analysis.reconstruction.study",
    "recording": "evaluation.episode_videos",
    "report": "reporting.html_report",
    "resampling": "preprocessing.resize",
    "results": "reporting.json_report",
    "reuse": "encoder.streaming",
    "rollout": "evaluation.rollout",
    "runtimes.choice": "runtimes.auto",
    "runtimes.processor": "runtimes.cpu_base",
    "scaling": "multiscale",
    "selection": "encoder.tile_selection",
    "settings": "utils.config",
    "side_by_side": "reporting.generalization",
    "spec": "encoder.spec",
    "tiling": "encoder.scale_layout",
    "train": "training.trainer",
    "verdict": "reporting.comparisons",
    "verify": "analysis.parity.verify",
    "views": "pretraining.augmentation",
}
"""New names of modules by old name, below ``s2robot``."""


class _MovedModule(types.ModuleType):
    """A module under its old name, which reads every attribute from the new module."""

    def __init__(self, old: str) -> None:
        super().__init__(f"s2robot.{old}")
        self.__path__ = []  # so that modules below it are looked for
        self._old = old

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if f"{self._old}.{name}" in MODULES:
            return importlib.import_module(f"s2robot.{self._old}.{name}")
        new = NAMES.get(self._old, {}).get(name, name)
        module, _, attribute = new.rpartition(":")
        target = importlib.import_module(f"s2robot.{module or MODULES[self._old]}")
        return getattr(target, attribute)


class MovedFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules under their old names, before folders of such a name are looked for."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec where ``fullname`` is an old name, else None."""
        del path, target
        package, _, old = fullname.partition(".")
        if package != "s2robot" or old not in MODULES:
            return None
        warn_renamed(fullname, f"s2robot.{MODULES[old]}", stacklevel=2)
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return the stand-in for an old module."""
        return _MovedModule(spec.name.partition(".")[2])

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: attributes are read when they are asked for."""


def install() -> None:
    """Let old names import, once."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedFinder())
