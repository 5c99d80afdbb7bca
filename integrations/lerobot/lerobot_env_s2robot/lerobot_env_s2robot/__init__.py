"""LeRobot environment ``s2robot_pick_cube``: s2robot's pick-cube for LeRobot's commands.

LeRobot imports this package where it is installed; then ``--env.type=s2robot_pick_cube`` is known.
"""

from lerobot_env_s2robot.configuration import S2RobotPickCubeEnvConfig as S2RobotPickCubeEnvConfig
from lerobot_env_s2robot.pick_cube import LeRobotPickCubeEnv as LeRobotPickCubeEnv
