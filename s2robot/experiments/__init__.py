"""From a configuration to trained and evaluated runs that resume."""
