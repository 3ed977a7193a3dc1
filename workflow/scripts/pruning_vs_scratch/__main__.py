"""``python -m pruning_vs_scratch`` is ``pvs``."""

from pruning_vs_scratch.program.main import console

console()
