"""Magnitude: drops the smallest weights."""
