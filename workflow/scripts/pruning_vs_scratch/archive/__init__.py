"""One file with a study except its weights, from which its tables, claims and figures can be remade."""
