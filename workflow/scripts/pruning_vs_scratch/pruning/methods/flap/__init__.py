"""FLAP (An et al., 2312.11983): structured pruning by how much inputs fluctuate, compensated by biases."""
