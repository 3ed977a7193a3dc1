"""The shipped studies of the paper: their runs, budgets and learning rates."""

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.study import Run, Study

CONFIG = REPOSITORY / "config"


def test_the_papers_other_track_retrains_the_same_models_and_has_no_full_budgets() -> None:
    paper, meta = (runs_of("config", *overlays) for overlays in (["paper"], ["paper", "paper-meta"]))
    assert retrained(paper) == retrained(meta) != set()
    assert [run.name for run in meta if run.role == "parent"] == ["Meta-seed0"]
    assert any("-full-" in run.name for run in paper)
    assert not any("-full-" in run.name for run in meta)


def test_the_papers_runs_have_the_rates_of_the_authors_list_or_all_the_one_of_its_text() -> None:
    paper, one_rate, meta = (
        {
            (run.role, run.target.granularity, run.plan.tokens): run.plan.peak_learning_rate
            for run in runs_of("config", "paper", *more)
            if run.plan
        }
        for more in ([], ["paper-one-rate"], ["paper-meta"])
    )
    at_50b, later = 52_428_800_000, 262_144_000_000
    listed = {
        ("retrained", "sparse", at_50b): 3e-5, ("scratch", "sparse", at_50b): 1e-3,
        ("retrained", "depth", at_50b): 5e-4, ("scratch", "depth", at_50b): 5e-4,
        ("retrained", "depth", later): 3e-4, ("scratch", "width", at_50b): 3e-4,
        ("parent", None, 209_715_200_000): 3e-4,
    }  # fmt: skip
    assert paper.items() >= listed.items()
    assert paper.keys() == one_rate.keys() > meta.keys()
    assert set(one_rate.values()) == {3e-4}
    assert set(meta.values()) == {1e-4}


def runs_of(*files: str) -> list[Run]:
    """All runs of a study, from files of config/."""
    config = load_config([CONFIG / f"{file}.yaml" for file in files])
    return list(Study(config.model_dump(mode="json")).runs.values())


def retrained(runs: list[Run]) -> set[tuple[str | None, str, int]]:
    """Methods, targets and budgets of the retrained runs."""
    return {(run.method, run.target.name, run.plan.tokens) for run in runs if run.role == "retrained" and run.plan}
