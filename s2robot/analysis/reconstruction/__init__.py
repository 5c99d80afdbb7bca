"""How much of a larger encoder's features a linear map recovers from a smaller one's scales."""
