"""Gemma 2: four norms per block, scaled embeddings, capped scores and logits, windows in every other block."""
