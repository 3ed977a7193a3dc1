"""ShortGPT: the blocks that change the residual stream least go."""
