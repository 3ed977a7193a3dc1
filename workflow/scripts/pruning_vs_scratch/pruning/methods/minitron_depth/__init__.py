"""Minitron-depth: the contiguous run of blocks goes without which the loss is lowest."""
