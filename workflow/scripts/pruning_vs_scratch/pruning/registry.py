"""The pruning methods by name. A new method is one file, a line here, and its name in config/pruning.py."""

from collections.abc import Callable

from transformers import LlamaForCausalLM

from pruning_vs_scratch.pruning import magnitude, minitron_depth, minitron_width, shortgpt, wanda
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.study import Target

CALIBRATED: dict[str, Callable[[LlamaForCausalLM, Target, CalibrationStream], Pruned]] = {
    "shortgpt": shortgpt.prune,
    "minitron_depth": minitron_depth.prune,
    "minitron_width": minitron_width.prune,
    "wanda": wanda.prune,
}
CALIBRATION_FREE: dict[str, Callable[[LlamaForCausalLM, Target], Pruned]] = {
    "magnitude": magnitude.prune,
}
