"""Latency, generation speed and memory of a model on the hardware at hand."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pruning_vs_scratch.config.evaluation import SpeedConfig
from pruning_vs_scratch.errors import UserError

CLEAR_PEAK = "5"
"""Written to /proc/self/clear_refs, it sets the peak of the process's memory back (proc(5))."""


@dataclass(frozen=True)
class Measurement:
    """The median of some measurements, and their range."""

    metric: str
    value: float
    low: float
    high: float
    n: int


def measure(load: Callable[[], Any], settings: SpeedConfig, device: torch.device) -> list[Measurement]:
    """Load a model, read a prompt with it, and generate after the prompt, one sequence at a time.

    Metrics: prefill_seconds, decode_tokens_per_second, and peak_memory_bytes, weights included (where it can be told).

    Raises:
        UserError: prompt and new tokens are more than the model's positions.
    """
    before = _start_of_memory(device)
    model = load()
    limit = model.config.max_position_embeddings
    if settings.prompt_tokens + settings.new_tokens > limit:
        raise UserError(
            f"evaluation.speed: {settings.prompt_tokens} tokens of a prompt and {settings.new_tokens} new ones are "
            f"beyond the {limit} positions of the checkpoint"
        )
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(model.config.vocab_size, (1, settings.prompt_tokens), generator=generator).to(device)
    runs = [_once(model, prompt, settings.new_tokens, device) for _ in range(settings.warmup + settings.repeats)]
    prefill, decode = zip(*runs[settings.warmup :], strict=True)
    rates = [settings.new_tokens / seconds for seconds in decode]
    found = [_summary("prefill_seconds", prefill), _summary("decode_tokens_per_second", rates)]
    memory = _peak_since(before, device)
    return found if memory is None else [*found, Measurement("peak_memory_bytes", memory, memory, memory, 1)]


@torch.inference_mode()
def _once(model: Any, prompt: torch.Tensor, new_tokens: int, device: torch.device) -> tuple[float, float]:
    """Seconds of the prefill and of the greedy generation of a number of tokens."""
    times = [_now(device)]
    state = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
    token = state.logits[:, -1:].argmax(dim=-1)
    times.append(_now(device))
    for _ in range(new_tokens):
        state = model(input_ids=token, past_key_values=state.past_key_values, use_cache=True)
        token = state.logits[:, -1:].argmax(dim=-1)
    times.append(_now(device))
    return times[1] - times[0], times[2] - times[1]


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _summary(metric: str, values: Any) -> Measurement:
    return Measurement(metric, median(values), min(values), max(values), len(values))


def _start_of_memory(device: torch.device) -> int | None:
    """Forget earlier peaks; bytes that are taken now."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text(CLEAR_PEAK, encoding="ascii")
    except OSError:  # not Linux, or not allowed
        return None
    return _bytes_of("VmRSS")


def _peak_since(before: int | None, device: torch.device) -> int | None:
    if before is None:
        return None
    return (torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _bytes_of("VmHWM")) - before


def _bytes_of(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [kibibytes] = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(kibibytes) * 1024
