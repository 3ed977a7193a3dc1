"""Steps and chains of pruning: what a text means, which chains are possible, and what is said about a wrong one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_vs_scratch.config.pruning import CHAIN_PATTERN
from pruning_vs_scratch.config.steps import Step, method_of, parse_chain, ratio_of
from pruning_vs_scratch.errors import UserError
from studies import GRANULARITY, METHODS, SPARSE


@st.composite
def steps(draw: st.DrawFn, methods: tuple[str, ...] = METHODS, digits: int = 6) -> Step:
    method = draw(st.sampled_from(methods))
    pattern = draw(st.sampled_from(["unstructured", "2:4", "4:8"])) if method in SPARSE else "dense"
    ratio = draw(st.integers(1, 10**digits - 1)) / 10**digits
    return Step(method, 0.5 if ":" in pattern else ratio, pattern)


@given(steps())
def test_a_step_matches_its_text(step: Step) -> None:
    assert Step.parse(str(step)) == step
    assert re.match(CHAIN_PATTERN, f"{step.method}@{step.pattern if ':' in step.pattern else f'{step.ratio:f}'}")


@given(steps(digits=12))
def test_no_digit_of_a_ratio_is_lost(step: Step) -> None:
    """A chain's target file holds its steps as text, and the last step is pruned by what that text says."""
    assert Step.parse(str(step)) == step


@pytest.mark.parametrize(
    ("text", "step", "again"),
    [
        ("minitron_depth@0.5", Step("minitron_depth", 0.5, "dense"), "minitron_depth@0.5"),
        ("sheared_llama@0.250", Step("sheared_llama", 0.25, "dense"), "sheared_llama@0.25"),
        ("wanda@0.5", Step("wanda", 0.5, "unstructured"), "wanda@0.5"),
        ("wanda@2:4", Step("wanda", 0.5, "2:4"), "wanda@2:4"),
        ("random@4:8", Step("random", 0.5, "4:8"), "random@4:8"),
    ],
)
def test_a_text_is_a_method_and_a_ratio_or_a_pattern(text: str, step: Step, again: str) -> None:
    assert (Step.parse(text), str(step)) == (step, again)


@pytest.mark.parametrize(("method", "granularity"), GRANULARITY.items())
def test_a_step_cuts_what_its_method_cuts(method: str, granularity: str) -> None:
    assert Step.parse(f"{method}@0.5").granularity == granularity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wnada@0.5", "'wnada@0.5': no method 'wnada'; did you mean 'wanda'?"),
        ("xyz@0.5", "'xyz@0.5': no method 'xyz'; known: flap, magnitude, "),
        ("@0.5", "'@0.5': no method ''; known: "),
        ("shortgpt@2:4", "'shortgpt@2:4': patterns are 2:4 and 4:8, for sparse methods"),
        ("wanda@1:4", "'wanda@1:4': patterns are 2:4 and 4:8, for sparse methods"),
        ("wanda@half", "'wanda@half': 'half' is not a ratio"),
        ("wanda", "'wanda': '' is not a ratio"),
        ("wanda@0.5@0.5", "'wanda@0.5@0.5': '0.5@0.5' is not a ratio"),
        ("wanda@0", "'wanda@0': the ratio must be between 0 and 1"),
        ("wanda@1", "'wanda@1': the ratio must be between 0 and 1"),
        ("wanda@nan", "'wanda@nan': the ratio must be between 0 and 1"),
    ],
)
def test_a_wrong_step_is_reported_with_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        Step.parse(text)


@pytest.mark.parametrize("chain", [["wanda@0.5", "shortgpt@0.5"], ["shortgpt@0.5", "wanda@2:4", "minitron_width@0.5"]])
def test_a_sparse_step_is_only_the_last_of_a_chain(chain: list[str]) -> None:
    message = rf"\[{', '.join(chain)}\]: a sparse step \(wanda@.*\) can only be the last of a chain"
    with pytest.raises(UserError, match=message):
        parse_chain(chain)


def test_a_chain_keeps_the_order_of_its_steps() -> None:
    chain = ["minitron_width@0.5", "shortgpt@0.25", "sparsegpt@4:8"]
    assert [str(step) for step in parse_chain(chain)] == chain
    assert method_of(parse_chain(chain)) == "minitron_width+shortgpt+sparsegpt"


@given(st.lists(steps(), min_size=1, max_size=4))
def test_a_chain_keeps_what_every_step_keeps_of_what_the_one_before_kept(chain: list[Step]) -> None:
    kept = 1.0
    for step in chain:
        kept -= step.ratio * kept
    assert ratio_of(chain) == pytest.approx(1 - kept, abs=1e-6)
    assert ratio_of(chain) >= max(step.ratio for step in chain) - 1e-6


@pytest.mark.parametrize(
    ("chain", "ratio"), [(["shortgpt@0.5", "wanda@0.5"], 0.75), (["shortgpt@0.5", "wanda@0.2"], 0.6)]
)
def test_the_ratio_of_a_chain_is_a_number_that_people_write(chain: list[str], ratio: float) -> None:
    assert ratio_of(parse_chain(chain)) == ratio
