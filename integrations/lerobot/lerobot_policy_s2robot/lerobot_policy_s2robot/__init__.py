"""LeRobot policy ``s2robot``: a frozen S² encoder, and a head of s2robot on its embeddings.

LeRobot imports this package where it is installed; then ``--policy.type=s2robot`` is known.
"""

from lerobot_policy_s2robot.versions import check_lerobot

check_lerobot()

from lerobot_policy_s2robot.configuration_s2robot import (  # noqa: E402
    S2robotConfig as S2robotConfig,
)
from lerobot_policy_s2robot.rows import install  # noqa: E402

install()
