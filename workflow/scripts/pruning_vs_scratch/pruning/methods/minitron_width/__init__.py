"""Minitron-width: the channels, neurons and heads with the smallest activations go."""
