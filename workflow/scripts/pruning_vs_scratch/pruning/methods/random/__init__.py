"""Random masks: the reference for every choice."""
