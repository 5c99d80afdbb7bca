"""S² (Scaling on Scales, arXiv 2403.13043) as pure tensor functions; nothing here knows an encoder.

- ``forward``: the operator, ``multiscale_forward``
- ``tiles``: cuts images into tiles and lays the tiles' features together
- ``resizing``: sizes of images and of grids of features
"""

from __future__ import annotations

from s2robot.multiscale.forward import (
    OUTPUT_SHAPES,
    check_index,
    concatenate,
    multiscale_forward,
    square_grid,
)
from s2robot.multiscale.resizing import enlarge, resize_grid
from s2robot.multiscale.tiles import (
    count_splits,
    group_tiles,
    map_tiles,
    mean_over_tiles,
    merge_tiles,
    nearest_tiling,
    split_tiles,
)

__all__ = [
    "OUTPUT_SHAPES",
    "check_index",
    "concatenate",
    "count_splits",
    "enlarge",
    "group_tiles",
    "map_tiles",
    "mean_over_tiles",
    "merge_tiles",
    "multiscale_forward",
    "nearest_tiling",
    "resize_grid",
    "split_tiles",
    "square_grid",
]
