"""Settings of the commands that Hydra composes: their names and types, and errors about them."""
