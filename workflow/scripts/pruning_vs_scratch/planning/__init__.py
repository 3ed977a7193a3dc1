"""What a study costs before it is run: jobs, tokens, operations, hours, storage, the longest chain. No torch here."""
