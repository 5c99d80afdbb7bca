"""Validation: loss and errors of a policy on held-out frames."""

from __future__ import annotations

import torch

from s2robot.policies.dataset import TrajectoryData, Windows
from s2robot.policies.policy import Policy
from s2robot.training.frames import DeviceFrames

_VALIDATION_ROWS = 256


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
        command, 0 where all entries are motion. Empty without held-out frames.
    """
    if not len(windows):
        return {}
    policy.eval()
    totals = torch.zeros(3, dtype=torch.float64)
    for rows in torch.arange(len(windows)).split(_VALIDATION_ROWS):
        embedding, proprio, actions, mask = frames.gather(windows, rows)
        outputs = policy.outputs(embedding, proprio)
        losses = policy.frame_losses(outputs, actions)
        errors = action_errors(policy.actions_of(outputs)[mask], actions[mask], frames.data)
        totals += torch.stack([(losses * mask).sum(), *errors]).double().cpu()
    mean = totals / windows.mask.sum()
    return dict(zip(("valid_loss", "motion_error", "gripper_error"), mean.tolist(), strict=True))


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
