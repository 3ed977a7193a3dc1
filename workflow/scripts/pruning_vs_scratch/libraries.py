"""What the steps on models import, and how it is imported in less time."""

import gc
from importlib import import_module

MODULES = (
    "torch._dynamo",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "pruning_vs_scratch.training.export",
    "pruning_vs_scratch.training.loop",
    "pruning_vs_scratch.training.reporters",
    "pruning_vs_scratch.pruning.choose",
    "pruning_vs_scratch.pruning.export",
    "pruning_vs_scratch.pruning.session",
)
"""Not pandas, which starts a thread, nor lm-eval, which reads variables that each evaluation sets (warm/server.py)."""


def import_libraries() -> None:
    """Import them without collections of garbage, of which there is none yet: they take a sixth of the time."""
    gc.disable()
    for name in MODULES:
        import_module(name)
    gc.freeze()
    gc.enable()
