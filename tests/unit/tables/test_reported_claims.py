"""The paper's own numbers, read as the claims read a study's."""

from pathlib import Path

import numpy as np
import pytest

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.tables.claims import state_claims
from pruning_vs_scratch.tables.gaps import gap_groups
from pruning_vs_scratch.tables.reported import reported_table
from pruning_vs_scratch.tables.reported_claims import reported_gaps, with_reported
from synthetic_tables import write_tables

SETTINGS = ClaimsConfig(resamples=200)
REPORTED = reported_table(REPOSITORY / "config/reported.csv")


def paper_says(tmp_path: Path) -> dict[str, str]:
    value = state_claims("demo", gap_groups(write_tables(tmp_path), "test"), SETTINGS)
    return {claim["id"]: claim["reported"] for claim in with_reported(value, REPORTED)["claims"]}


def test_the_papers_own_numbers_are_read_in_the_same_way(tmp_path: Path) -> None:
    says = paper_says(tmp_path)
    assert says["C1"] == (
        "contradicted, 15 of 17 as claimed. Against: Minitron-depth 0.813, 50B: -0.2 points (secondary); "
        "Minitron-depth 0.813, 50B: -0.212 nats on wikitext103 (preliminary)"
    )
    assert says["C2"].startswith("supported, 2 of 2 as claimed")
    assert "250B to 500B +0.010 (read_off)" in says["C2"]
    assert says["C3"].startswith("supported, 2 of 2 as claimed")
    assert says["C3-vanishing"].startswith("contradicted, 0 of 1 as claimed")
    assert says["C4"].startswith("supported, 7 of 7 as claimed")
    claimed, between = says["C4"].split(". Not judged: ")
    for number in (
        "Minitron-depth 0.5, 50B: -1.8 points (labelled)",
        "SparseGPT 0.5, 50B: +1.2 points (labelled)",
        "Wanda 0.5, 50B: +0.9 points (secondary)",
    ):
        assert number in claimed
    for number in (
        "SparseGPT 2:4 0.5, 50B: -0.4 points (labelled)",
        "Sheared-LLaMA 0.5, 50B: +0.6 points (labelled)",
        "FLAP 0.5, 50B: +1.4 points (secondary)",
    ):
        assert number in between


def test_a_stated_gap_counts_before_the_difference_of_two_that_were_read_off() -> None:
    gaps = reported_gaps(REPORTED, "equal").set_index(["method", "ratio", "budget", "quantity"])
    stated = gaps.loc[("minitron_depth", 0.5, 500 * 10**9, "val_loss")]
    assert (stated["gap"], stated["precision"]) == (0.04, "labelled")
    difference = gaps.loc[("minitron_depth", 0.5, 30 * 10**9, "val_loss")]
    assert (difference["gap"], difference["precision"]) == (pytest.approx(0.22), "read_off")
    perplexity = gaps.loc[("minitron_depth", 0.5, 50 * 10**9, "wikitext2_ppl")]
    assert perplexity["gap"] == pytest.approx(np.log(10.77 / 9.41))


def test_a_file_without_a_papers_numbers_says_that_nothing_is_known(tmp_path: Path) -> None:
    value = state_claims("demo", gap_groups(write_tables(tmp_path), "test"), SETTINGS)
    parent = REPORTED[REPORTED["setting"] == "parent"]
    assert {claim["reported"] for claim in with_reported(value, parent)["claims"]} == {"no numbers reported"}
