"""Qwen2 and Qwen2.5: a Llama with biases of queries, keys and values."""
