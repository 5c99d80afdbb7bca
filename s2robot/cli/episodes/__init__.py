"""Commands on single episodes."""
