"""Tables as a paper prints them: each as csv (numbers), Markdown and LaTeX (booktabs). From stored tables alone."""

from collections.abc import Callable

from pruning_vs_scratch.tables.published import accounting, comparisons, efficiency, hyperparameters, tasks
from pruning_vs_scratch.tables.published.stored import Published, Stored

PUBLISHED: dict[str, Callable[[Stored], Published]] = {
    "main": comparisons.main_table,
    "tasks": tasks.task_table,
    "efficiency": efficiency.efficiency_table,
    "accounting": accounting.accounting_table,
    "hyperparameters": hyperparameters.hyperparameter_table,
}
"""Every table by the name of its files."""
