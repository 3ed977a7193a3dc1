"""From evaluated runs to the tables, tests and words that answer the study's question. No torch here."""
