"""Tasks whose scenes, physics and success are those of other packages.

A new one is a module here, with the releases of its package that it was tried with
(``package_versions``), and a line of ``PACKAGED`` in ``envs/tasks/names.py``.
"""
