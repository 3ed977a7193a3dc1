"""Mistral: a Llama without biases, whose blocks may all be limited to a window."""
