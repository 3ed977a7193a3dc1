"""Magnitude: the smallest weights go."""
