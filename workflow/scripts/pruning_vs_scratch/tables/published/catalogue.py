"""Every printed table and every page of the report, in order. No pandas here.

The rules, the report, the plan, archives and what writes the tables take them from ``PUBLISHED`` and ``PAGES``.
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
    """What the report shows as a page: ``name`` is that of its file, ``caption`` what stands under its i."""

    name: str
    folder: ReportFolder
    caption: str


class TableModule(Protocol):
    """A module of this folder that makes one table."""

    def make(self, stored: "Stored") -> "Published":
        """The table of a finished study."""


@dataclass(frozen=True)
class PrintedTable(ReportPage):
    """A table that is printed, and shown as a page; its module has its name."""

    def make(self, stored: "Stored") -> "Published":
        """The table of a finished study; pandas is imported for it."""
        return cast(TableModule, import_module(f"{__package__}.{self.name}")).make(stored)


PUBLISHED: dict[str, PrintedTable] = {
    table.name: table
    for table in (
        PrintedTable(
            "verdicts", ReportFolder.CLAIMS,
            "What each claim says, its verdict and the reason, and what the paper's own numbers give when they are "
            "read in the same way, one line per claim.",
        ),
        PrintedTable(
            "overview", ReportFolder.ACCOUNTING,
            "The study in figures: parent, methods, budgets, seeds, models, and what all of it read and took.",
        ),
        PrintedTable(
            "main", ReportFolder.TABLES,
            "Losses of pruned and retrained models and of their baselines from scratch, at equal training tokens and "
            "with the whole pipeline's tokens for scratch; gaps with their intervals.",
        ),
        PrintedTable(
            "transfer", ReportFolder.TABLES,
            "Tokens of training from scratch that a pruned start is worth, of this study and computed from the losses "
            "that the paper reports. Those of the paper have no intervals; the grade says how sure its numbers are.",
        ),
        PrintedTable(
            "tasks", ReportFolder.TABLES,
            "Accuracy of every model on each task, beside guessing and the parent. After ± stands the standard error "
            "over items.",
        ),
        PrintedTable(
            "efficiency", ReportFolder.TABLES,
            "Size and cost of each shape and mask, and what was measured on this machine. A baseline from scratch has "
            "those of the pruned model of its target.",
        ),
        PrintedTable(
            "reported", ReportFolder.TABLES,
            "The paper's table of perplexities, beside the same three models of this study. The two differ in model, "
            "text and tokens by orders of magnitude: compare which is better, not the values. The paper gives no "
            "intervals; the grade says how sure its number is.",
        ),
        PrintedTable(
            "reported_numbers", ReportFolder.TABLES,
            "Every number of the paper and of its authors that is known here (config/reported.csv), with its grade: "
            "labelled ones are printed by their source, others were read off a plot, are quoted by others, or stand in "
            "a script of the authors from before the paper.",
        ),
        PrintedTable(
            "hyperparameters", ReportFolder.PROVENANCE, "What training and pruning were told, and what was searched."
        ),
        PrintedTable(
            "accounting", ReportFolder.ACCOUNTING,
            "Tokens and operations of both sides of every compared pair, as the training loop counted them, and what "
            "the full budget is made of.",
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
"""Every table, by the name of its files."""

CLAIMS = ReportPage(
    "claims", ReportFolder.CLAIMS,
    "The paper's four claims, tested on this study's own numbers: verdict, effect with its interval, test, and every "
    "comparison.",
)  # fmt: skip

PAGES: dict[str, ReportPage] = {CLAIMS.name: CLAIMS, **PUBLISHED}
"""What the report shows as pages: the text of the claims, and every table."""
