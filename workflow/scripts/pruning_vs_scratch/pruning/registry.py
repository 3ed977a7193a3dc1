"""The pruning methods by name. A new one is a file in methods/, a line here, and its options in config/pruning.py.

Sheared-LLaMA, whose masks are trained, is apart: see methods/sheared_llama.py.
"""

from pruning_vs_scratch.pruning.method import SparseMethod, StructuredMethod
from pruning_vs_scratch.pruning.methods import (
    magnitude,
    minitron_depth,
    minitron_width,
    random_mask,
    shortgpt,
    sparsegpt,
    wanda,
)

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
