"""ROS 2 package of s2robot; the node itself is ``s2robot.plugins.ros.ros2``."""
