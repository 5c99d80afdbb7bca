"""Recorded demonstrations of any origin: files and folders with actions and camera frames.

``contract``        interface of a recorded data set, and checks that its readers share
``opening``         recognition of a layout, and ``open_dataset``, which calls its reader
``robomimic``       reader of robomimic's HDF5 files with images
``lerobot``         reader of LeRobot v3 folders, with ``lerobot_tables`` and ``lerobot_video``
``episode_folder``  reader of a folder of episodes; ``episode_tables`` reads its tables
``bags``            reader of ROS bags, with ``bag_alignment`` and ``bag_numbers``
``frame_reader``    frames of one camera, as the feature store reads them

A reader is a module with one function ``open_NAME(path, cameras, low_dim)``, which returns an
``EpisodeDataset``; ``opening`` lists the layouts and their readers.
"""
