"""Tasks: what collection, training and evaluation ask of an environment, and ways to name one."""
