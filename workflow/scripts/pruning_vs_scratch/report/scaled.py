"""Numbers in units that suit their size."""

PREFIXES = (
    (1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""),
)  # fmt: skip


def scaled(value: float, unit: str) -> str:
    """Three digits with a prefix: '127 kB', '2.27 GFLOP'."""
    size, prefix = next(((size, prefix) for size, prefix in PREFIXES if value >= size), PREFIXES[-1])
    return f"{float(f'{value / size:.3g}'):g} {prefix}{unit}"


def operations(value: float) -> str:
    """A number of floating-point operations."""
    return scaled(value, "FLOP")
