"""OLMo 2: norms after both sublayers instead of before them, and over all queries and all keys."""
