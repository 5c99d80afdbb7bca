"""Validation: loss and errors of a policy on held-out frames."""

from __future__ import annotations

import torch

from s2robot.policies.dataset import TrajectoryData, Windows
from s2robot.policies.policy import Policy
from s2robot.training.frames import DeviceFrames

_VALIDATION_ROWS = 256
_ERRORS = ("valid_loss", "motion_error", "gripper_error")


@torch.no_grad()
def validate(policy: Policy, frames: DeviceFrames, windows: Windows) -> dict[str, float]:
    """Return the loss and the errors of the deterministic action, as means over held-out frames.

    Args:
        policy: is left in evaluation mode.
        frames: all frames.
        windows: of the held-out frames.

    Returns:
        ``valid_loss``; ``motion_error``, the absolute error of an entry of the action's motion
        [m, or rad for joints]; ``gripper_error``, the share of frames with the wrong gripper
        command, 0 where all entries are motion. Of a policy with chunks, these are errors of a
        chunk's first action, that of the present step, before ensembling; ``chunk_error`` is the
        motion error over all actions of the chunks. Empty without held-out frames.
    """
    if not len(windows):
        return {}
    policy.eval()
    chunked = policy.config.is_chunked
    totals = torch.zeros(4 if chunked else 3, dtype=torch.float64)
    for rows in torch.arange(len(windows)).split(_VALIDATION_ROWS):
        embedding, proprio, actions, mask = frames.gather(windows, rows)
        outputs = policy.outputs(embedding, proprio)
        losses = policy.frame_losses(outputs, actions)
        predicted = policy.actions_of(outputs)
        everywhere = action_errors(predicted[mask], actions[mask], frames.data)
        sums = [(losses * mask).sum(), *everywhere]
        if chunked:
            present = action_errors(predicted[:, 0], actions[:, 0], frames.data)
            sums = [sums[0], *present, everywhere[0]]
        totals += torch.stack(sums).double().cpu()
    if not chunked:
        mean = totals / windows.mask.sum()
        return dict(zip(_ERRORS, mean.tolist(), strict=True))
    counts = [windows.mask.sum(), len(windows), len(windows), windows.mask.sum()]
    mean = totals / torch.tensor(counts)
    return dict(zip((*_ERRORS, "chunk_error"), mean.tolist(), strict=True))


def action_errors(
    predicted: torch.Tensor, actions: torch.Tensor, data: TrajectoryData
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return motion errors [m, or rad for joints] and wrong gripper commands, summed over frames.

    A frame's motion error is the mean over entries, not the length of the vector: where an expert
    switches, the error of one entry is large for every policy and would hide the other entries.

    Args:
        predicted: actions ``(M, A)``.
        actions: of the demonstrations ``(M, A)``.
        data: with the unit of the motion.
    """
    motion = (predicted - actions)[:, : data.motion_dims].abs().mean(dim=-1) * data.motion_unit
    wrong = (predicted[:, -1] > 0) != (actions[:, -1] > 0)
    if data.motion_dims == actions.shape[1]:  # there is no gripper command
        wrong = torch.zeros_like(wrong)
    return motion.sum(), wrong.sum()
