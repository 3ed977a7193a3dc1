"""Gemma 3, text only: Gemma 2 with normalised heads instead of caps, and two kinds of rotary positions."""
