"""Rules on peak learning rates: who trains at which, what is refused, and what a pair may then differ in."""

from pathlib import Path
from typing import Any

import pytest

from finished_studies import FULL, PARENT, RETRAINED, SCRATCH, finished
from pruning_vs_scratch.config.learning_rates import LearningRateRule, TrainedRun, rule_for
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.ledger import ledger_table, verified_pairs
from studies import plan

Values = dict[str, Any]

SPARSE, SPARSE_SCRATCH = "P16.4k-wanda-0.5-2of4-R8.19k-seed0", "S8.19k-wanda-0.5-2of4-seed0"
AS_THE_PAPER: list[Values] = [
    {"runs": ["retrained"], "granularities": ["sparse"], "peak": 3e-5},
    {"runs": ["scratch"], "granularities": ["sparse"], "peak": 1e-3},
    {"runs": ["retrained", "scratch"], "granularities": ["depth"], "budgets": [8192], "peak": 5e-4},
]


def ruled(values: Values, *rules: Values) -> Study:
    """A study with rules on learning rates."""
    values["training"]["learning_rates"] = list(rules)
    return Study(values)


def test_the_first_rule_that_fits_counts() -> None:
    rules = [
        LearningRateRule(runs=["scratch"], methods=["wanda"], budgets=[10], peak=0.1),
        LearningRateRule(runs=["scratch", "retrained"], granularities=["sparse"], peak=0.2),
        LearningRateRule(runs=["parent"], peak=0.3),
    ]
    expected = {
        TrainedRun("scratch", "wanda", "sparse", 10): 0,
        TrainedRun("scratch", "wanda", "sparse", 20): 1,
        TrainedRun("retrained", "wanda", "sparse", 10): 1,
        TrainedRun("parent"): 2,
        TrainedRun("rewind", "wanda", "sparse", 10): None,
        TrainedRun("scratch", "shortgpt", "depth", 10): None,
    }
    for run, index in expected.items():
        assert rule_for(rules, run) == (None if index is None else rules[index])


def test_runs_train_at_the_rates_of_their_rules_and_the_others_at_the_studys(smoke: Values) -> None:
    before = Study(smoke)
    study = ruled(smoke, *AS_THE_PAPER)
    changed = {
        name: found.peak_learning_rate
        for name in study.trained_runs
        if (found := plan(study, name)).peak_learning_rate != plan(before, name).peak_learning_rate
    }
    sparse_full = "S25.6k-wanda-0.5-2of4-full-seed0"
    assert changed == {
        RETRAINED: 5e-4, SCRATCH: 5e-4, FULL: 5e-4, SPARSE: 3e-5, SPARSE_SCRATCH: 1e-3, sparse_full: 1e-3,
    }  # fmt: skip
    for name in study.trained_runs:
        rate = plan(before, name).peak_learning_rate
        assert plan(study, name).model_copy(update={"peak_learning_rate": rate}) == plan(before, name)


def test_a_parent_and_rewound_weights_have_rules_too(smoke: Values) -> None:
    smoke["matrix"][0]["rewind"] = [4096]
    study = ruled(smoke, {"runs": ["parent"], "peak": 0.1}, {"runs": ["rewind"], "peak": 0.2})
    rates = {run.role: run.plan.peak_learning_rate for run in study.runs.values() if run.plan}
    assert rates == {"parent": 0.1, "retrained": 0.003, "scratch": 0.003, "rewind": 0.2}


def test_a_chain_is_a_separate_method(smoke: Values) -> None:
    smoke["matrix"].append({"chains": [["minitron_depth@0.5", "wanda@2:4"]], "retrain": [8192]})
    study = ruled(smoke, {"runs": ["retrained"], "methods": ["minitron_depth+wanda"], "peak": 0.1})
    rates = {plan(study, name).peak_learning_rate for name in (RETRAINED, SPARSE)}
    assert rates == {0.003}
    assert plan(study, "P16.4k-minitron_depth-0.5+wanda-0.5-2of4-R8.19k-seed0").peak_learning_rate == 0.1


def test_budgets_of_different_rates_share_no_trunk(smoke: Values) -> None:
    smoke["training"]["schedule"] = {"kind": "wsd", "warmup_steps": 1, "decay_fraction": 0.25}
    assert Study(smoke).run(RETRAINED).trunk is not None
    study = ruled(smoke, {"runs": ["retrained"], "budgets": [8192], "peak": 0.1})
    assert study.run(RETRAINED).trunk is None
    assert study.run(SCRATCH).trunk is not None


def rule(**changes: Any) -> Values:
    return {"runs": ["scratch"], "peak": 0.1} | changes


MISTAKES: dict[str, tuple[list[Values], str]] = {
    "no run kind": ([rule(runs=["rewind"])], "0.runs: the study has no rewind; it has: parent, retrained, scratch"),
    "no such kind": ([rule(runs=["scrach"])], "0.runs.0: 'scrach' is not valid; did you mean 'scratch'?"),
    "no method": (
        [rule(methods=["wandaa"])],
        "0.methods: the study has no wandaa; it has: minitron_depth, minitron_width, wanda",
    ),
    "no granularity": ([rule(granularities=["hybrid"])], "0.granularities: the study has no hybrid; it has: depth, sp"),
    "no budget": ([rule(budgets=[8191])], "0.budgets: the study has no 8191; it has: 4096, 8192"),
    "no run of all that": (
        [rule(methods=["wanda"], budgets=[4096])],
        "0: no run of the study matches all of its conditions (scratch; wanda; 4096 tokens)",
    ),
    "the same runs twice": (
        [rule(methods=["wanda"]), rule(granularities=["sparse"], peak=0.2)],
        "1: it clashes with training.learning_rates.0, which comes first and matches all of its runs (scratch; sparse)",
    ),
    "a wider rule before": (
        [rule(), rule(methods=["wanda"], peak=0.2)],
        "1: it clashes with training.learning_rates.0, which comes first and matches all of its runs (scratch; wanda)",
    ),
    "a parent with a method": (
        [rule(runs=["parent", "scratch"], methods=["wanda"])],
        "0: a parent is not pruned, and so has no method, granularity or retraining budget",
    ),
    "no kind at all": ([rule(runs=[])], "0.runs: must be a list of at least 1, not []"),
    "a rate that is none": ([rule(peak=0)], "0.peak: must be greater than 0, not 0"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_rules_is_named(case: str, smoke: Values) -> None:
    rules, message = MISTAKES[case]
    smoke["training"]["learning_rates"] = rules
    with pytest.raises(UserError) as found:
        parse_config(smoke)
    assert f"training.learning_rates.{message}" in str(found.value)


def test_a_published_parent_has_no_rule(study_values: Any) -> None:
    values = study_values("smollm2")
    values["training"]["learning_rates"] = [rule(runs=["parent"])]
    with pytest.raises(UserError, match=r"0\.runs: the study has no parent; it has: retrained, scratch"):
        parse_config(values)


def test_a_baseline_that_methods_share_has_one_rate(smoke: Values) -> None:
    smoke["matrix"][0]["methods"] = ["minitron_depth", "shortgpt"]
    message = (
        r"training\.learning_rates: S4\.1k-depth-0\.5-seed0 is in several comparisons, whose rules give it the peak "
        r"learning rates 0\.1 and 0\.003; let the same rule fit all of them"
    )
    with pytest.raises(UserError, match=message):
        ruled(smoke, rule(methods=["minitron_depth"]))
    study = ruled(smoke, rule(methods=["minitron_depth", "shortgpt"]))
    assert plan(study, SCRATCH).peak_learning_rate == 0.1


def test_rules_and_a_sweep_do_not_both_choose(smoke: Values) -> None:
    on = ["minitron_depth@0.5"]
    smoke["sweep"] = {"peak_learning_rates": [0.001, 0.004], "on": on, "tokens": 2048, "use": "own"}
    with pytest.raises(
        UserError, match=r"learning_rates\.0: sweep\.use: own chooses the rates of all runs but parents"
    ):
        ruled(smoke, rule())
    study = ruled(smoke, {"runs": ["parent"], "peak": 0.1})
    assert plan(study, PARENT).peak_learning_rate == 0.1
    smoke["sweep"]["use"] = "none"
    assert plan(ruled(smoke, rule()), SCRATCH).peak_learning_rate == 0.1


@pytest.fixture
def study(smoke: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A finished study whose sparse pairs, and no others, have two rates each."""
    monkeypatch.chdir(tmp_path)
    smoke["training"]["learning_rates"] = AS_THE_PAPER
    return finished(smoke)


def test_pairs_may_differ_in_the_rates_that_rules_give_them(study: Study) -> None:
    assert len(verified_pairs(study, ledger_table(study))) == len(study.pairs)


@pytest.mark.parametrize(("run", "rate", "message"), [
    (SPARSE, 1e-3, f"peak_lr: 0.001 for {SPARSE}, 3e-05 by its plan"),
    (SPARSE_SCRATCH, 3e-5, f"peak_lr: 3e-05 for {SPARSE_SCRATCH}, 0.001 by its plan"),
    (SCRATCH, 3e-5, f"peak_lr: 0.0005 for {RETRAINED}, 3e-05 for {SCRATCH}"),
    (FULL, 3e-5, f"peak_lr: 0.0005 for {RETRAINED}, 3e-05 for {FULL}"),
])  # fmt: skip
def test_any_other_difference_stays_an_error(study: Study, run: str, rate: float, message: str) -> None:
    ledger = ledger_table(study)
    ledger.loc[ledger["run"] == run, "peak_lr"] = rate
    with pytest.raises(UserError) as found:
        verified_pairs(study, ledger)
    assert message in str(found.value)


def test_pairs_of_two_rates_still_share_all_else(study: Study) -> None:
    ledger = ledger_table(study)
    ledger.loc[ledger["run"] == SPARSE, "schedule"] = "other"
    with pytest.raises(UserError, match=f"schedule: other for {SPARSE}"):
        verified_pairs(study, ledger)
