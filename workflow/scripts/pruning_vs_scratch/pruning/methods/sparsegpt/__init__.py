"""SparseGPT: the weights go whose loss the others can make up for best, which they then do."""
