"""How states are written: immediately, or in the background by a thread from a copy in host memory."""

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.training.resume import save_state
from pruning_vs_scratch.training.state_file import TrainState
from pruning_vs_scratch.training.world import World


class Saves:
    """Writes the states of a run to its folder and keeps the latest ``keep``."""

    def __init__(self, folder: Path, world: World, *, spec: str, keep: int) -> None:
        self._folder, self._world, self._spec, self._keep = folder, world, spec, keep
        self.latest: int | None = None
        """Step of the latest state that this object completed."""

    def save(self, state: TrainState, tensors: Tensors) -> None:
        """Write a state, or begin to write it: ``tensors`` may change as soon as this returns."""
        self._write(state, tensors)

    def check(self) -> None:
        """Raise any error from a state that was written in the background."""

    def finish(self) -> None:
        """Wait until the state that is being written is complete."""

    def _write(self, state: TrainState, tensors: Tensors) -> None:
        save_state(self._folder, state, tensors, self._world, spec=self._spec, keep=self._keep)
        self.latest = state.step


class SavesBeside(Saves):
    """Writes each state in a thread, from a copy in host memory (pinned, with a GPU), one at a time.

    A state gets its final name only once it is complete, so a run killed in between resumes from the previous one. The
    threads of several processes use a separate group, so that their collectives never mix with those of training.
    """

    def __init__(self, folder: Path, world: World, *, spec: str, keep: int) -> None:
        super().__init__(folder, world.apart(), spec=spec, keep=keep)
        self._stager = DefaultStager(
            StagingOptions(
                use_async_staging=False,
                use_pinned_memory=world.device.type == "cuda",
                use_shared_memory=False,
                use_non_blocking_copy=False,
            )
        )
        self._thread = ThreadPoolExecutor(1, "saves")
        self._pending: Future[None] | None = None

    def save(self, state: TrainState, tensors: Tensors) -> None:
        """Copy a state and begin to write it, once the one before is complete."""
        self.finish()
        staged = self._stager.stage(tensors)
        assert isinstance(staged, dict)
        self._pending = self._thread.submit(self._write, copy.deepcopy(state), staged)

    def check(self) -> None:
        """Raise any error from a state that was written in the background."""
        if self._pending is not None and self._pending.done():
            self.finish()

    def finish(self) -> None:
        """Wait until the state that is being written is complete."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
