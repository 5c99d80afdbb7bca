"""Adapters to other frameworks; each imports without the others.

``robomimic``  an encoder core for robomimic's configurations
``ros``  nodes for ROS 1 and ROS 2, and bags of images to bags of embeddings
"""
