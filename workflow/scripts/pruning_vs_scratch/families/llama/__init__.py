"""Llama: norms before both sublayers, no biases unless the configuration says so."""
