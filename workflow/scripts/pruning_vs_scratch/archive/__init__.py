"""One file that holds a study without its weights, and from which its tables, claims and figures are made again."""
