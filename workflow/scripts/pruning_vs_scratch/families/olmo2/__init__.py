"""OLMo 2: norms behind both sublayers instead of before them, and over all queries and all keys."""
