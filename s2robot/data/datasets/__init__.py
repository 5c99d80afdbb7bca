"""Recorded demonstrations of any origin: files and folders with actions and camera frames.

``contract``  interface of a recorded data set, and checks that its readers share
``opening``   recognition of a layout, and ``open_dataset``, which calls its reader

A reader is a module with one function ``open_NAME(path, cameras, low_dim)``, which returns an
``EpisodeDataset``; ``opening`` lists the layouts and their readers.
"""
