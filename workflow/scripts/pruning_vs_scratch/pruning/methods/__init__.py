"""A folder per method: facts.py describes it, without torch; method.py implements its paper."""
