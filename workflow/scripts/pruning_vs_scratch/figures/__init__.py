"""The study's figures, drawn from stored tables alone. No torch here."""
