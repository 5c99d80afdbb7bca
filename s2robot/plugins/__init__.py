"""Adapters to other frameworks; each imports without the others.

``lerobot``  policies that LeRobot trained, as policy files
``robomimic``  an encoder core for robomimic's configurations
``ros``  nodes for ROS 1 and ROS 2, and bags of images to bags of embeddings
"""
