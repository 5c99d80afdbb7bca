"""ROS nodes over a core that needs no ROS: ``s2robot.plugins.ros.core``."""
