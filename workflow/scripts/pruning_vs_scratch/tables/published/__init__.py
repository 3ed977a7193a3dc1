"""Tables as a paper prints them: each as csv (numbers), Markdown and LaTeX (booktabs). From stored tables alone."""

from collections.abc import Callable

from pruning_vs_scratch.tables.published import (
    accounting,
    comparisons,
    efficiency,
    hyperparameters,
    overview,
    provenance,
    reported,
    reported_numbers,
    tasks,
    transfer,
    verdicts,
)
from pruning_vs_scratch.tables.published.stored import Published, Stored

PUBLISHED: dict[str, Callable[[Stored], Published]] = {
    "verdicts": verdicts.verdict_table,
    "overview": overview.overview_table,
    "main": comparisons.main_table,
    "transfer": transfer.transfer_table,
    "tasks": tasks.task_table,
    "efficiency": efficiency.efficiency_table,
    "reported": reported.reported_table,
    "reported_numbers": reported_numbers.number_table,
    "hyperparameters": hyperparameters.hyperparameter_table,
    "accounting": accounting.accounting_table,
    "provenance": provenance.provenance_table,
    "versions": provenance.version_table,
}
"""Every table by the name of its files."""

PAGES = ("claims", *PUBLISHED)
"""What the report shows as pages: the text of the claims, and every table."""
