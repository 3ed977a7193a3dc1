"""The cost of a study before it is run: jobs, tokens, operations, hours, storage, the longest chain. No torch here."""
