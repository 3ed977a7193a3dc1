"""What the steps on models import, and a faster way to import it."""

import gc
from importlib import import_module

MODULES = (
    "torch._dynamo",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "pruning_vs_scratch.training.step",
    "pruning_vs_scratch.pruning.choose",
    "pruning_vs_scratch.pruning.export",
    "pruning_vs_scratch.pruning.session",
)
"""Not pandas, which starts a thread, nor lm-eval, which reads variables that each evaluation sets (warm/server.py)."""


def import_libraries() -> None:
    """Import them without garbage collection: there is no garbage yet, and looking takes a sixth of the time."""
    gc.disable()
    for name in MODULES:
        import_module(name)
    gc.freeze()
    gc.enable()
