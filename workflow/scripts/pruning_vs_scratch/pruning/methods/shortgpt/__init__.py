"""ShortGPT: drops the blocks that change the residual stream least."""
