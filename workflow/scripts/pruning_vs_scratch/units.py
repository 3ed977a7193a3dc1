"""Units of token counts."""

TOKEN_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
