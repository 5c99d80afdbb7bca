"""Commands that start nodes; what they need of ROS is imported only then.

``nodes``   the encoder's nodes of ROS 1 and ROS 2
``camera``  a camera of ROS 2 from a recording or a webcam
``words``   words of a command line that are for ROS
"""
