"""Decoding of ROS 1 and ROS 2 image messages and stamps, without ROS."""
