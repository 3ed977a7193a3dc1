"""Every mistake in the arms of a study is named with its place and what would be right."""

from collections.abc import Callable
from typing import Any

import pytest

from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study

Values = dict[str, Any]
STEP = 1024
BUDGET = 8 * STEP
PUBLISHED = {"kind": "path", "name": "Mine", "tokens": 1000, "path": "models/mine"}


def gradual(*ratios: float, retrain: int = BUDGET) -> Values:
    return {"gradual": [{"ratios": list(ratios), "retrain": [retrain]}]}


def sheared(values: Values) -> None:
    values["pruning"]["sheared_llama"] = {"tokens": 4096}
    values["matrix"][0].update(methods=["sheared_llama"])


def distilling(values: Values) -> None:
    values["training"]["objective"] = "kd"


def without_weight(values: Values) -> None:
    values["training"]["distillation"] = {"weight": 0}


def pretrained_elsewhere(values: Values) -> None:
    values["parent"] = PUBLISHED | {"shape": values["parent"]["shape"]}
    values["tokenizer"] = {"kind": "checkpoint", "vocab_size": 512}


def wider(values: Values) -> None:
    """The earlier target of a width method has fewer neurons than the later one."""
    values["matrix"][0].update(methods=["minitron_width"])
    values["targets"]["width"].append({"ratio": 0.25, "hidden_size": 32, "ffn_size": 16, "heads": 4})


def searched(values: Values) -> None:
    values["matrix"][0].update(methods=["minitron_width"])
    values["targets"]["width"] = [{"ratio": 0.25, "hidden_size": 28, "ffn_size": 48, "heads": 4}]
    values["shape_search"] = {"ratios": [0.5], "method": "minitron_width", "tokens": STEP}


def patterned(values: Values) -> None:
    values["matrix"][0].update(methods=["wanda"], patterns=["unstructured", "2:4"])


def chained(values: Values) -> None:
    values["matrix"][0] = {"chains": [["shortgpt@0.5", "wanda@0.5"]], "retrain": [BUDGET]}


def unchanged(values: Values) -> None:
    del values


DISTILLED = {"distilled": {"tokens": [BUDGET]}}
MISTAKES: dict[str, tuple[Values, Callable[[Values], None], str]] = {
    "distillation of what is distilled already": (
        DISTILLED, distilling, "matrix.0.distilled: training.objective is kd, so that all retraining is distilled",
    ),
    "an objective without a teacher": (
        DISTILLED, without_weight, "matrix.0.distilled: training.distillation.weight is 0, so that the parent teaches",
    ),
    "ratios that do not rise": (
        gradual(0.5, 0.5), unchanged, "matrix.0.gradual.0: ratios [0.5, 0.5] do not rise",
    ),
    "ratios that fall": (gradual(0.75, 0.5), unchanged, "matrix.0.gradual.0: ratios [0.75, 0.5] do not rise"),
    "one ratio": (gradual(0.5), unchanged, "matrix.0.gradual.0.ratios"),
    "an end that is not compared": (
        gradual(0.25, 0.4), unchanged,
        "matrix.0.gradual.0.ratios: the last, 0.4, is not one of this block's ratios [0.5]",
    ),
    "a budget that cannot be divided": (
        gradual(0.2, 0.25, 0.5), unchanged,
        "matrix.0.gradual.0.retrain: 8192 tokens cannot be divided among 3 steps in whole batches of 1024 tokens; "
        "nearest: 6144 or 9216",
    ),
    "an N:M pattern": (gradual(0.25, 0.5), patterned, "matrix.0.gradual.0: an N:M pattern has a single ratio"),
    "learned masks": (
        gradual(0.25, 0.5), sheared, "matrix.0.gradual.0: sheared_llama closes its masks gradually already",
    ),
    "chains": (gradual(0.25, 0.5), chained, "matrix.0.gradual.0: chains prune in several steps already"),
    "a step without a target": (
        gradual(0.125, 0.5), unchanged,
        "matrix.0.gradual.0.ratios: minitron_depth needs a target for 0.125 under targets.depth; nearest: 0.25",
    ),
    "a target that grows": (
        gradual(0.25, 0.5), wider,
        "matrix.0.gradual.0.ratios: from 0.25 to 0.5, the targets of minitron_width raise ffn_size from 16 to 32",
    ),
    "searched shapes": (
        gradual(0.25, 0.5), searched, "matrix.0.gradual.0.ratios: the shapes of minitron_width are searched",
    ),
    "a joint schedule of a published parent": (
        {"joint": [BUDGET]}, pretrained_elsewhere,
        "matrix.0.joint: a published parent has ended its schedule, and its state before the decay is not known",
    ),
    "a published parent pruned early": (
        {"early": [{"shares": [0.5], "retrain": [BUDGET]}]}, pretrained_elsewhere,
        "matrix.0.early: a published parent cannot be pruned before its last token",
    ),
    "a share between two steps": (
        {"early": [{"shares": [0.3], "retrain": [BUDGET]}]}, unchanged,
        "matrix.0.early.0.shares: 0.3 of the parent's 16 steps is not a whole number of steps; nearest: 0.25 or 0.3125",
    ),
    "a whole parent that is early": (
        {"early": [{"shares": [1.0], "retrain": [BUDGET]}]}, unchanged, "matrix.0.early.0.shares.0",
    ),
    **{
        f"a budget of {key} that is not compared": (
            arm, unchanged, f"matrix.0.{key}: 2048 is not one of this block's retrain budgets [8192]",
        )
        for key, arm in {
            "joint": {"joint": [2048]},
            "distilled.tokens": {"distilled": {"tokens": [2048]}},
            "distilled.flops": {"distilled": {"flops": [2048]}},
            "gradual.0.retrain": gradual(0.25, 0.5, retrain=2048),
            "early.0.retrain": {"early": [{"shares": [0.5], "retrain": [2048]}]},
        }.items()
    },
}  # fmt: skip


def values_with(smoke: Values) -> Values:
    """The smallest study with one comparison."""
    smoke["targets"]["depth"].insert(0, {"ratio": 0.25, "layers": 3})
    smoke["matrix"] = [{"methods": ["minitron_depth"], "ratios": [0.5], "retrain": [BUDGET]}]
    return smoke


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_an_arm_is_named_with_what_would_be_right(case: str, smoke: Values) -> None:
    arm, edit, expected = MISTAKES[case]
    values = values_with(smoke)
    edit(values)
    values["matrix"][0].update(arm)
    with pytest.raises(UserError) as error:
        parse_config(values)
    assert expected in str(error.value)


@pytest.mark.parametrize("retrain", [6144, 9216])
def test_the_budgets_that_a_message_names_can_be_divided(retrain: int, smoke: Values) -> None:
    values = values_with(smoke)
    values["targets"]["depth"].insert(0, {"ratio": 0.2, "layers": 3})
    values["matrix"][0].update(retrain=[retrain], **gradual(0.2, 0.25, 0.5, retrain=retrain))
    assert len(Study(values).arms) == 1


@pytest.mark.parametrize("share", [0.25, 0.3125])
def test_the_shares_that_a_message_names_are_whole_steps(share: float, smoke: Values) -> None:
    values = values_with(smoke)
    values["matrix"][0].update(early=[{"shares": [share], "retrain": [BUDGET]}])
    (pair,) = Study(values).arms
    assert pair.share == share


def test_a_published_parent_can_teach_and_be_pruned_gradually(smoke: Values) -> None:
    values = values_with(smoke)
    pretrained_elsewhere(values)
    values["matrix"][0].update(DISTILLED | gradual(0.25, 0.5))
    assert [pair.arm for pair in Study(values).arms] == ["distilled", "gradual"]
