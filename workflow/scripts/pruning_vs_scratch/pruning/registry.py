"""The pruning methods by name. A new one is a file, a line here, and its options in config/pruning.py.

Sheared-LLaMA, whose masks are trained, is apart: see sheared_llama.py.
"""

from pruning_vs_scratch.pruning import (
    magnitude,
    minitron_depth,
    minitron_width,
    random_mask,
    shortgpt,
    sparsegpt,
    wanda,
)
from pruning_vs_scratch.pruning.method import SparseMethod, StructuredMethod

STRUCTURED: dict[str, StructuredMethod] = {
    "shortgpt": shortgpt.METHOD,
    "minitron_depth": minitron_depth.METHOD,
    "minitron_width": minitron_width.METHOD,
}
SPARSE: dict[str, SparseMethod] = {
    "wanda": wanda.METHOD,
    "sparsegpt": sparsegpt.METHOD,
    "magnitude": magnitude.METHOD,
    "random": random_mask.METHOD,
}
