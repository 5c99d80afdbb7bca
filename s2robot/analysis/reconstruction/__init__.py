"""How much of a larger encoder's features a linear map recovers from a smaller one's scales."""

RIDGE = 1e-6
"""Share of each input channel's variance that is added to it: enough to make the sums invertible if
channels are redundant, too little to change a loss otherwise."""
TOKENS = {"grid": "spatial_softmax", "cls": "cls", "mean": "mean"}
"""Readouts by kind of token: all places of the grid, the class token, or the grid's average."""
