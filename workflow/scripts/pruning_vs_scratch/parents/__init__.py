"""Checkpoints that others trained: fetched, checked, and adopted as the parent of a study."""
