"""Decoding of ROS 1 and ROS 2 messages without ROS and without rosbags.

``images``            camera messages to RGB frames
``color_conversion``  Bayer mosaics and YUV 4:2:2 to RGB
``message_error``     the error of messages that cannot be used, which nodes count
``stamps``            time stamps as integer nanoseconds, and their order
``definitions``       text of the messages of ``s2robot_msgs``
"""
