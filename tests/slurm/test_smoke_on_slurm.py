"""The smallest study through a real SLURM: the same results as without, in few jobs, without a network."""

from pathlib import Path

from checkouts import results_of
from studies_on_slurm import ATTEMPTS


def test_a_study_through_slurm_gives_the_same_results(local: Path, through_slurm: Path) -> None:
    assert results_of(through_slurm) == results_of(local)
    assert (through_slurm / "figures/smoke/token_budget.pdf").stat().st_size > 0


def test_short_steps_are_one_job_and_others_run_here(through_slurm: Path) -> None:
    log = (through_slurm.parent / "log").read_text()
    submitted = log.count("has been submitted with SLURM jobid")
    trained, scored_or_pruned, evaluated, text, speed = 11, 5, 4, 1, 1
    assert submitted == trained + scored_or_pruned + evaluated + text + speed


def test_no_job_needs_the_network(through_slurm: Path) -> None:
    assert not ATTEMPTS.exists(), ATTEMPTS.read_text()
