"""Recordings on ROS 2, where its own tools are not installed; needs rclpy.

``camera``    frames of a recording, a webcam or a drawn episode on a topic
``recorder``  topics to a bag (needs the extra `ros` too)
"""
