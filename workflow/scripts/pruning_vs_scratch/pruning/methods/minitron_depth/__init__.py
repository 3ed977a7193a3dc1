"""Minitron-depth: drops the contiguous run of blocks without which the loss is lowest."""
