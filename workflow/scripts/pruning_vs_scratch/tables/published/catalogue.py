"""Every printed table and every page of the report, in order. No pandas here.

The rules, the report, the plan, archives and what writes the tables take those of a study from ``published_of`` and
``pages_of``.
"""

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from pruning_vs_scratch.tables.published.stored import Published, Stored


class ReportFolder(StrEnum):
    """Folders of the report, which sorts them by name."""

    CLAIMS = "1. Claims"
    FIGURES = "2. Figures"
    TABLES = "3. Tables"
    ACCOUNTING = "4. Accounting"
    PROVENANCE = "5. Provenance"
    FILES = "6. Files"


@dataclass(frozen=True)
class ReportPage:
    """A page of the report: ``name`` names its file, ``caption`` is shown under its info icon."""

    name: str
    folder: ReportFolder
    caption: str


class TableModule(Protocol):
    """A module of this folder that makes one table."""

    def make(self, stored: "Stored") -> "Published":
        """The table of a finished study."""


@dataclass(frozen=True)
class PrintedTable(ReportPage):
    """A table that is printed and shown as a page; its module has the same name."""

    needs_arms: bool = False
    """Whether only studies with arms have it."""

    def make(self, stored: "Stored") -> "Published":
        """The table of a finished study; pandas is imported for it."""
        return cast(TableModule, import_module(f"{__package__}.{self.name}")).make(stored)


PUBLISHED: dict[str, PrintedTable] = {
    table.name: table
    for table in (
        PrintedTable(
            "verdicts", ReportFolder.CLAIMS,
            "Each claim, its verdict and the reason, and the result of the paper's own numbers under the same test, "
            "one line per claim.",
        ),
        PrintedTable(
            "overview", ReportFolder.ACCOUNTING,
            "The study in numbers: parent, methods, budgets, seeds, models, and total tokens, operations and time.",
        ),
        PrintedTable(
            "main", ReportFolder.TABLES,
            "Losses of pruned and retrained models and of their baselines from scratch, at equal training tokens and "
            "with the whole pipeline's tokens for scratch; gaps with their intervals.",
        ),
        PrintedTable(
            "transfer", ReportFolder.TABLES,
            "Tokens of training from scratch that a pruned start is worth, for this study and computed from the losses "
            "reported in the paper. The paper's values have no intervals; the grade shows how reliable they are.",
        ),
        PrintedTable(
            "tasks", ReportFolder.TABLES,
            "Accuracy of every model on each task, next to chance and the parent. After ± is the standard error "
            "over items.",
        ),
        PrintedTable(
            "efficiency", ReportFolder.TABLES,
            "Size and cost of each shape and mask, and measurements on this machine. A baseline from scratch has the "
            "same values as the pruned model of its target.",
        ),
        PrintedTable(
            "reported", ReportFolder.TABLES,
            "The paper's table of perplexities, next to the same three models of this study. The two differ in model, "
            "text and tokens by orders of magnitude: compare the order, not the values. The paper gives no "
            "intervals; the grade shows how reliable each number is.",
        ),
        PrintedTable(
            "reported_numbers", ReportFolder.TABLES,
            "Every number of the paper and of its authors that is known here (config/reported.csv), with its grade: "
            "labelled ones are printed by their source; the others were read off a plot, are quoted by other authors, "
            "or come from a script of the authors from before the paper.",
        ),
        PrintedTable(
            "hyperparameters", ReportFolder.PROVENANCE, "Settings of training and pruning, and what was searched."
        ),
        PrintedTable(
            "accounting", ReportFolder.ACCOUNTING,
            "Tokens and operations of both sides of every compared pair, as counted by the training loop, and the "
            "components of the full budget.",
        ),
        PrintedTable(
            "arms", ReportFolder.ACCOUNTING,
            "The arms that the paper leaves open: tokens, operations and losses of both sides of every comparison, as "
            "counted by the training loop.",
            needs_arms=True,
        ),
        PrintedTable(
            "provenance", ReportFolder.PROVENANCE,
            "Time and memory of each phase, the hardware that it ran on, and the hash of the code. Several rows of a "
            "phase mean that its jobs ran on different hardware, versions or code.",
        ),
        PrintedTable(
            "versions", ReportFolder.PROVENANCE,
            "Versions of Python and of the packages that the numbers depend on, with the phases that ran with them.",
        ),
    )
}  # fmt: skip
"""Every table that a study can have, by the name of its files."""

CLAIMS = ReportPage(
    "claims", ReportFolder.CLAIMS,
    "The claims, tested on this study's own numbers: verdict, effect with its interval, test, and every comparison.",
)  # fmt: skip


def published_of(has_arms: bool) -> dict[str, PrintedTable]:
    """The tables of a study, by name."""
    return {name: table for name, table in PUBLISHED.items() if has_arms or not table.needs_arms}


def pages_of(has_arms: bool) -> dict[str, ReportPage]:
    """What the report of a study shows as pages: the text of the claims, and every table."""
    return {CLAIMS.name: CLAIMS, **published_of(has_arms)}
