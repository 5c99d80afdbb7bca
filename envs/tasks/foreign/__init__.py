"""Tasks whose scenes, physics and success are those of other packages."""
