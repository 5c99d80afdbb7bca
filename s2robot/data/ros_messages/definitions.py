"""Definitions of the messages of ``s2robot_msgs``, the same text for ROS 1 and ROS 2."""

from __future__ import annotations

PACKAGE = "s2robot_msgs"

ENCODER_TOPIC = "/s2robot/encoder"
"""Topic of one latched ``std_msgs/String``: JSON of the encoder and the source of the frames."""

EMBEDDING_STAMPED = """\
# The embedding of one camera frame by a frozen encoder.
std_msgs/Header header  # of the frame, unchanged
string model            # backbone@digest: name and the first 16 digits of the spec's SHA-256
uint32[] shape          # (C) or (gh, gw, C); several cameras first: (cameras, ...)
float32[] data          # as many numbers as the shape says, the last index fastest
"""

ACTION_STAMPED = """\
# One control step of a policy, from a camera frame and joint states.
std_msgs/Header header  # of the frame that was acted on, unchanged
string policy           # file that it came from, without its folder
string[] meaning        # what each number is: dx, dy, dz, gripper ...
float32[] data          # in [-1, 1] or a recording's units, each held for one period
float32 period          # seconds until the next one is due
bool anew               # whether the policy had forgotten what it saw before
"""

MESSAGES = {"EmbeddingStamped": EMBEDDING_STAMPED, "ActionStamped": ACTION_STAMPED}
"""Definitions by the message's name, equal to the ``.msg`` files."""
