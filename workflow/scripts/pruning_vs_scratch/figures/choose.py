"""Which of a study's comparisons a figure shows."""

from typing import Any, get_args

import pandas as pd

from pruning_vs_scratch.pruning.facts import Granularity
from pruning_vs_scratch.tables.load import Tables


def measured(tables: Tables, *settings: str) -> pd.DataFrame:
    """The comparisons of some settings that have a value."""
    gaps = tables.gaps
    return gaps[gaps["setting"].isin(settings) & gaps["gap"].notna()].reset_index(drop=True)


def most_common(values: pd.Series) -> Any:
    """The value that occurs most often; of several, the largest."""
    counts = values.value_counts()
    return counts.index[counts == counts.max()].max()


def coarsest_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of their granularities."""
    order = get_args(Granularity).index
    return rows.sort_values("granularity", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def families(equal: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of each target family, its name as ``panel``, at its ratio with the most budgets."""
    families = [_family(rows) for _, rows in equal.groupby(["granularity", "pattern"], sort=False)]
    return pd.concat(families, ignore_index=True) if families else equal.assign(panel="")


def _family(rows: pd.DataFrame) -> pd.DataFrame:
    budgets = rows.groupby("ratio")["budget"].nunique()
    ratio = budgets.index[budgets == budgets.max()].min()
    granularity, pattern = rows["granularity"].iloc[0], rows["pattern"].iloc[0]
    name = f"{granularity}, {pattern}" if granularity == "sparse" else granularity
    family: pd.DataFrame = rows[rows["ratio"] == ratio].assign(panel=name)
    return family


def gathered(drawn: pd.DataFrame) -> pd.DataFrame:
    """Families of one budget, which would be single points, in a panel with the others of their granularity and ratio.

    ``drawn`` are the comparisons of families, each with its ``panel``.
    """
    kin = drawn.groupby(["granularity", "ratio"], sort=False)
    single = drawn.groupby("panel")["budget"].transform("nunique") == 1
    joined = single.groupby([drawn["granularity"], drawn["ratio"]]).transform("any")
    several = kin["panel"].transform("nunique") > 1
    return drawn.assign(panel=drawn["panel"].where(~(joined & several), drawn["granularity"]))
