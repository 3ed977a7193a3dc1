"""Live curves in TensorBoard or Weights & Biases, besides metrics.jsonl. Off unless requested; keys stay in the
environment, where these libraries look for them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pruning_vs_scratch.config.training import ReporterName
from pruning_vs_scratch.errors import UserError


class Reporter(Protocol):
    """Takes the records of a run."""

    def add(self, record: dict[str, float]) -> None:
        """Take a record; its ``step`` is the abscissa of all its other values."""

    def close(self) -> None:
        """Flush buffered values."""


@contextmanager
def reporters(names: Iterable[ReporterName], folder: Path, run: str) -> Iterator[list[Reporter]]:
    """The named writers for a run, whose files go under ``folder``; closed at the end.

    Raises:
        UserError: a library is not installed.
    """
    opened: list[Reporter] = []
    try:
        for name in names:
            opened.append(_KINDS[name](folder / name, run))
        yield opened
    finally:
        for reporter in opened:
            reporter.close()


class TensorBoard:
    """Event files for ``tensorboard --logdir``; what an earlier attempt wrote after the state is hidden."""

    def __init__(self, folder: Path, run: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _not_installed("tensorboard") from error
        self._open = partial(SummaryWriter, str(folder / run))
        self._writer: SummaryWriter | None = None

    def add(self, record: dict[str, float]) -> None:
        """Write each value as a scalar."""
        if self._writer is None:
            self._writer = self._open(purge_step=int(record["step"]))
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(record["step"]))

    def close(self) -> None:
        """Flush buffered values."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases; its project, account and mode come from the library's environment variables."""

    def __init__(self, folder: Path, run: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _not_installed("wandb") from error
        folder.mkdir(parents=True, exist_ok=True)
        # Its defaults record the command line and the machine's name; runs here report only their numbers.
        settings = wandb.Settings(
            console="off", disable_git=True, x_disable_meta=True, x_disable_stats=True, save_code=False
        )
        self._run: Any = wandb.init(name=run, dir=str(folder), settings=settings)

    def add(self, record: dict[str, float]) -> None:
        """Log the values."""
        self._run.log(record)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _not_installed(name: str) -> UserError:
    return UserError(f"training.report_to: {name} is not installed: pip install -c requirements.lock -e '.[{name}]'")


_KINDS: dict[ReporterName, type[TensorBoard] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}
