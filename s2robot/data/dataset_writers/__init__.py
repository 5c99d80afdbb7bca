"""Recorded demonstrations written in the formats of other packages.

``lerobot``          writer of LeRobot v3 folders; ``lerobot_tables`` and ``lerobot_stats`` make
                     their tables and statistics
``robomimic``        writer of robomimic HDF5 files with images

A writer takes any ``EpisodeDataset``. What it writes appears only when it is complete.
"""
