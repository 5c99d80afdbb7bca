"""Actions of a policy file on a robot.

- ``runner``: one action for each control period from the latest embedding and joint states
- ``watchdog``: stops them on old data
- ``proprioception``: joint states to the proprioception that a pick-cube policy reads
- ``recorded``: joint states to the observations of a policy of ROS bags
"""

from s2robot.plugins.ros.core.policy.runner import GAP_PERIODS, Action, PolicyCounts, PolicyRunner

__all__ = ["GAP_PERIODS", "Action", "PolicyCounts", "PolicyRunner"]
