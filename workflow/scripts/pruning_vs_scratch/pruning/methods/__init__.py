"""A folder per method: facts.py says what it is, without torch; method.py does it, from its paper."""
