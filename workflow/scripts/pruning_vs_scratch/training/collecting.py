"""Garbage collection in the same step on all processes: a process that collects alone keeps the others waiting."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pruning_vs_scratch.training.world import World

STEPS_BETWEEN_COLLECTIONS = 50


@contextmanager
def garbage_collected_together(world: World) -> Iterator[Callable[[int], None]]:
    """While open, processes collect garbage only when they call the yielded function, with their step."""
    if world.size == 1 or not gc.isenabled():
        yield lambda _step: None
        return
    gc.disable()
    try:
        yield _collect
    finally:
        gc.enable()


def _collect(step: int) -> None:
    if step % STEPS_BETWEEN_COLLECTIONS == 0:
        gc.collect()
