"""Old names of classes, functions and constants in moved modules; see ``s2robot._moved``."""

from __future__ import annotations

NAMES: dict[str, dict[str, str]] = {
    "bench": {
        "main": "cli.bench:main",
    },
    "frame_sources": {
        "BAGS": "data.bag_paths:BAGS",
        "bag_and_topic": "data.bag_paths:bag_and_topic",
        "is_bag": "data.bag_paths:is_bag",
        "video_frames": "preprocessing.video_files:read_video",
    },
    "probes": {
        "LocalisationData": "LocalizationData",
        "LocalisationError": "LocalizationError",
        "Localiser": "Localizer",
        "fit_localiser": "fit_localizer",
        "localisation_data": "localization_data",
    },
    "plugins.bags": {
        "BagSettings": "plugins.ros.encode_bag:BagSettings",
        "Encoded": "plugins.ros.encode_bag:Encoded",
        "encode_bag": "plugins.ros.encode_bag:encode_bag",
    },
    "arms": {
        "ArmConfig": "VariantConfig",
        "Arm": "Variant",
    },
    "backbones.cards": {
        "Licence": "License",
    },
    "backbones.probing": {
        "licence_of": "license_of",
        "probed_card": "introspected_card",
    },
    "backbones.reference": {
        "BICUBIC": "analysis.parity.reference_preprocessing:BICUBIC",
        "BILINEAR": "analysis.parity.reference_preprocessing:BILINEAR",
        "CLIP": "analysis.parity.reference_preprocessing:CLIP",
        "IMAGENET": "analysis.parity.reference_preprocessing:IMAGENET",
    },
    "backbones.robot_cards": {
        "THEIA_LICENCE": "THEIA_LICENSE",
        "robot_cards": "robotics_cards",
    },
    "backbones.taps": {
        "MERGES": "LAYER_MERGES",
        "check_taps": "check_layers",
        "tapped": "with_layers",
    },
    "backbones.vision_cards": {
        "DINOV3_LICENCE": "DINOV3_LICENSE",
        "NVIDIA_LICENCE": "NVIDIA_LICENSE",
        "vision_cards": "general_cards",
    },
    "cells": {
        "METRICS": "reporting:METRICS",
        "Cell": "RunResult",
        "Arm": "VariantResults",
        "Group": "ComparisonGroup",
        "load_cells": "reporting.run_files:load_runs",
        "group_cells": "group_runs",
    },
    "commands": {
        "report": "cli.report:main",
        "sweep_cell": "sweep_run",
    },
    "conditions": {
        "MAX_CONDITIONS": "MAX_INITIAL_STATES",
        "Conditions": "InitialStates",
        "make_conditions": "make_initial_states",
        "save_conditions": "save_initial_states",
        "load_conditions": "load_initial_states",
        "ensure_conditions": "ensure_initial_states",
    },
    "controls": {
        "CONTROL_TITLES": "BASELINE_TITLES",
        "CONTROL_NAMES": "BASELINE_NAMES",
        "is_control": "is_baseline",
        "control_shape": "baseline_shape",
        "control_embedding": "baseline_embedding",
    },
    "envs.appearance": {
        "ORDINARY": "NOMINAL",
        "NEW_COLOUR": "NEW_COLOR",
        "Coat": "SurfaceMaterial",
        "Wardrobe": "PerturbedScene",
        "wardrobe": "perturbed_scene",
    },
    "envs.control": {
        "Control": "Controller",
    },
    "evaluate": {
        "TILE_CHOICES": "evaluation.config:TILE_CHOICES",
        "FORMAT": "evaluation.identity:RECORD_FORMAT",
        "SINGLE_FRAME_REPEATS": "evaluation.latency:SINGLE_FRAME_REPEATS",
        "SINGLE_FRAME_WARMUP": "evaluation.latency:SINGLE_FRAME_WARMUP",
        "Summary": "evaluation.results:Summary",
    },
    "figures": {
        "Box": "reporting.label_placement:Box",
        "OFFSETS_PT": "reporting.label_placement:OFFSETS_PT",
        "GREY": "GRAY",
        "side_by_side_svg": "generalization_svg",
    },
    "frame_pools": {
        "FramePool": "FrameDataset",
    },
    "head_search": {
        "HeadChoice": "HyperparameterChoice",
        "search_head": "search_hyperparameters",
    },
    "lockstep": {
        "Snapshot": "VectorStep",
        "View": "CameraView",
        "Lockstep": "VectorEnv",
        "make_lockstep": "make_vector_env",
        "LocalEnvs": "InProcessVectorEnv",
        "WorkerEnvs": "SubprocessVectorEnv",
    },
    "mae": {
        "normalise_patches": "normalize_patches",
        "normalise_pixels": "normalize_pixels",
    },
    "oracles": {
        "Oracle": "OriginalModel",
        "NoOracle": "NoOriginalPackageError",
        "oracle": "original_model",
    },
    "padding": {
        "frame_shares": "frame_coverage",
    },
    "pipeline": {
        "choose_head": "choose_hyperparameters",
        "train_cell": "train_run",
        "conditions_for": "initial_states_for",
        "CellJob": "experiments.jobs:RunJob",
        "EvalJob": "experiments.jobs:EvalJob",
        "TrainJob": "experiments.jobs:TrainJob",
        "run_cell": "execute_run",
        "failed_cells": "failed_runs",
    },
    "pixels": {
        "as_frames": "preprocessing.frame_input:as_frames",
        "centre_crop": "center_crop",
    },
    "plugins.ros.core.demand": {
        "Demand": "LazySubscription",
    },
    "plugins.ros.core.reports": {
        "OncePerKind": "LogThrottle",
    },
    "plugins.ros.core.results": {
        "Result": "EmbeddingResult",
    },
    "plugins.ros.core.synchronise": {
        "Synchroniser": "TimeSynchronizer",
    },
    "policies.heads": {
        "Standardiser": "Normalizer",
    },
    "pretrain": {
        "batches": "pretraining.run:batches",
        "pretrain": "pretraining.run:pretrain",
    },
    "pretrain_card": {
        "jsonable": "utils.io:jsonable",
    },
    "pretrain_diary": {
        "Diary": "TrainingLogger",
    },
    "pretrain_sources": {
        "open_pool": "open_dataset",
    },
    "pretrain_machine": {
        "cpu_flags": "utils.provenance:cpu_flags",
    },
    "probes.intervals": {
        "LocalisationError": "LocalizationError",
    },
    "probes.localisation": {
        "LocalisationData": "LocalizationData",
        "localisation_data": "localization_data",
    },
    "probes.localiser": {
        "Localiser": "Localizer",
        "fit_localiser": "fit_localizer",
    },
    "probes.pictures": {
        "SEGMENT_COLOURS": "SEGMENT_COLORS",
    },
    "probes.study": {
        "arm_label": "variant_label",
        "taps_label": "layers_label",
    },
    "processes": {
        "Team": "DistributedContext",
        "speaks": "is_main_process",
    },
    "probes.tasks": {
        "LINEAR_TASKS": "analysis.probes:LINEAR_TASKS",
    },
    "readout": {
        "SCALE_MERGES": "encoder.spec:SCALE_MERGES",
        "stage_of": "pooling_of",
    },
    "report": {
        "STRIPS_PER_ARM": "reporting.run_files:STRIPS_PER_RUN",
        "STRIP_WIDTH_PX": "reporting.page.media:STRIP_WIDTH_PX",
    },
    "resampling": {
        "antialiased_weights": "preprocessing.fixed_point:antialiased_weights",
    },
    "reuse": {
        "ReuseStats": "StreamStats",
        "checked_slots": "checked_streams",
        "KeptTiles": "TileCache",
    },
    "rollout": {
        "Pilot": "Agent",
    },
    "runtimes.choice": {
        "RUNTIMES": "runtimes.names:RUNTIMES",
        "milliseconds_of": "runtimes.measurement:milliseconds_of",
    },
    "side_by_side": {
        "SideBySide": "Generalization",
        "side_by_side": "generalization",
        "side_by_side_record": "reporting.json_report:generalization_record",
    },
    "spec": {
        "EmbeddingLayout": "encoder.layout:EmbeddingLayout",
        "MOST_TILES": "encoder.layout:MOST_TILES",
        "ScaleLayout": "encoder.scale_layout:ScaleLayout",
        "image_splits": "encoder.scale_layout:image_splits",
        "tile_of": "encoder.scale_layout:tile_of",
    },
    "train": {
        "DemonstrationTensors": "training.frames:DemonstrationTensors",
        "action_errors": "training.validation:action_errors",
        "assemble": "training.frames:assemble",
        "validate": "training.validation:validate",
    },
    "verdict": {
        "CEILING": "reporting.conclusions:CEILING",
        "Question": "reporting.conclusions:ComparisonKind",
        "QUESTIONS": "reporting.conclusions:COMPARISON_KINDS",
        "Answer": "reporting.conclusions:Conclusion",
        "answers": "reporting.conclusions:conclusions",
        "p_text": "reporting.conclusions:p_text",
        "sentence": "reporting.conclusions:sentence",
        "signed": "reporting.conclusions:signed",
    },
    "views": {
        "ViewConfig": "CropConfig",
        "ViewSampler": "CropSampler",
    },
}
"""New names of classes and functions by old name, by the old module; ``module:name`` elsewhere."""
