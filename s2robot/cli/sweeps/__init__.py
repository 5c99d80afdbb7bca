"""Commands about a sweep as a whole."""
