"""SparseGPT: drops the weights for which the others can compensate best, which they then do."""
