"""Minitron-width: drops the channels, neurons and heads with the smallest activations."""
