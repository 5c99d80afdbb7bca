"""Demonstrations, frames and stored features.

``demonstrations``          robomimic's HDF5 files with simulator states, written and read
``collection``              demonstrations of the scripted expert (`s2robot collect`)
``rendered_demonstrations`` demonstrations with drawn frames, as one of ``datasets``
``task_facts``              names, sizes, units and rate that a data set takes from its task
``rendered_frames``         camera frames of demonstrations, rendered once and stored on disk
``feature_store``           features of frames on disk, an entry for each scale (`s2robot features`)
``frame_sources``           frames of videos, folders of pictures, bags, rendered episodes or noise
``bag_paths``               recognition of ROS bags by their paths
``ros_messages``            decoding of ROS 1 and ROS 2 messages, without ROS and without rosbags
``rosbag``                  reading and writing of ROS bags without ROS (needs the extra `ros`)
``datasets``                recorded demonstrations: robomimic, LeRobot, folders of episodes, bags
``dataset_writers``         the same layouts, written (`s2robot export-dataset`)

A reader of another layout belongs into ``datasets``; ``datasets.contract`` says what it gives.
"""
