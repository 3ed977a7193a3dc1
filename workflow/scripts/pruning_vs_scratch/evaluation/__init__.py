"""Measuring checkpoints: loss on held-out corpora, and lm-eval tasks."""
