"""The training loop of parent, retraining and scratch runs."""
