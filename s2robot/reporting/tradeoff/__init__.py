"""Success against cost: the larger encoder or more scales, and the best choice for a budget."""
