"""Qwen3: a Llama that normalises the channels of each query and key head."""
