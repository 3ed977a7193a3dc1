"""Mistral: a Llama without biases, whose blocks may all look back over a window only."""
