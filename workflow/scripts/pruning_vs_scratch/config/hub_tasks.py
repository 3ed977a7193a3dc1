"""Public tasks: one file of config/tasks/hub per task, with the task's name. To add a task, add a file."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.cli import REPOSITORY, relative_name
from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.config.strict_yaml import read_yaml
from pruning_vs_scratch.errors import UserError, nearest

FOLDER = REPOSITORY / "config/tasks/hub"
TaskMetric = Literal["acc", "acc_norm"]

PAPERS_TASKS = (
    "winogrande", "arc_challenge", "arc_easy", "hellaswag", "piqa", "sciq", "boolq", "openbookqa",
)  # fmt: skip
"""The paper's eight tasks, evaluated by studies that name none, whatever other files exist."""


class HubTask(Section):
    """An lm-eval task on a data set of the hub: its definition, its data, and the score to quote."""

    definition: Annotated[str, Field(pattern=r"^[\w-][\w./-]*\.yaml$")]
    """File of lm-eval's own, unmodified definition in the folder lm_eval/tasks."""
    dataset: HubDataset
    """Data set that the definition reads, pinned to a commit."""
    metric: TaskMetric
    """Score quoted in tables and means: accuracy, or accuracy by likelihood per byte of a choice."""
    items_share: str | None = None
    """Data column that groups dependent items (such as those on the same passage or video)."""
    member: str | None = None
    """Folder of its validation split in the package of ``data: package``; omit for a task that is only on the hub."""


@cache
def hub_tasks() -> tuple[str, ...]:
    """Names of all tasks, sorted."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


@cache
def hub_task(name: str) -> HubTask:
    """A task by its name.

    Raises:
        UserError: the task is unknown, its file is invalid, or lm-eval lacks its definition.
    """
    if name not in hub_tasks():
        raise UserError(unknown(name))
    file = FOLDER / f"{name}.yaml"
    task = HubTask.from_option(relative_name(file), read_yaml(file))
    _require_definition(task, file)
    return task


def unknown(name: str) -> str:
    """Error message for an unknown task, with the nearest name."""
    return f"no task {name!r} in {relative_name(FOLDER)}; {nearest(name, hub_tasks())}"


def _require_definition(task: HubTask, file: Path) -> None:
    """Refuse a definition that lm-eval lacks, before anything is trained; lm-eval is not imported for it."""
    found = find_spec("lm_eval")
    if found is None or found.origin is None:
        return
    folder = Path(found.origin).parent / "tasks"
    if not (folder / task.definition).exists():
        known = (known.relative_to(folder).as_posix() for known in folder.rglob("*.yaml"))
        raise UserError(
            f"{relative_name(file)}: definition: lm-eval has no {task.definition}; {nearest(task.definition, known)}"
        )
