"""A published parent: what its study may contain, the names of its runs, and what is known about it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from checkpoints_world import POSITIONS, PUBLISHED, VOCABULARY, published_llama, with_special, write_published
from figure_world import drawn, stored
from models import tiny_model
from program import pvs
from pruning_vs_scratch.config.checkpoint import HubCheckpoint, PathCheckpoint
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.data.tokenizer import load_tokenizer, separator_of, take_tokenizer
from pruning_vs_scratch.data.tokens import TokenStore, token_dtype, write_tokens
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.catalogue import families
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.models.decoder import config_of, layer_types, random_like, random_model, shape_of, with_shape
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.checkpoints import Acquisition
from pruning_vs_scratch.study.command_lines import tokenizer_options
from pruning_vs_scratch.study.evaluation import packaged_benchmarks
from pruning_vs_scratch.study.inputs import starting_point
from pruning_vs_scratch.study.priority import training_flops
from pruning_vs_scratch.tables.load import Tables
from studies import plan, runs_of
from training_world import SHAPE as TRAINED_SHAPE

Values = dict[str, Any]
LLAMA = {"kind": "hub", "repository": "meta-llama/Llama-3.1-8B", "revision": "d" * 40}


def published(smoke: Values, **parent: Any) -> Values:
    """The smallest study with a parent of the hub."""
    shape = smoke["parent"]["shape"]
    for block in smoke["matrix"]:
        block |= {"full": []}
    return smoke | {
        "parent": {**LLAMA, "name": "Meta", "shape": shape} | parent,
        "tokenizer": {"kind": "checkpoint", "vocab_size": 512},
    }


def refusal(values: Values) -> str:
    with pytest.raises(UserError) as error:
        parse_config(values)
    return str(error.value)


def test_runs_are_named_after_the_parent_as_in_the_paper(smoke: Values) -> None:
    study = Study(published(smoke))
    assert list(study.runs)[:4] == [
        "Meta-seed0",
        "Meta-minitron_depth-0.5-seed0",
        "Meta-minitron_depth-0.5-R4.1k-seed0",
        "S4.1k-depth-0.5-seed0",
    ]
    assert next(iter(Study(published(smoke, tokens=15 * 10**12)).runs)) == "Meta-seed0"


def test_retraining_begins_with_the_first_text_since_the_parent_read_none(smoke: Values) -> None:
    study = Study(published(smoke))
    starts = {plan(study, run.name).window_start for run in study.runs.values() if run.plan}
    assert starts == {0}
    assert study.runs["Meta-seed0"].plan is None
    assert "Meta-seed0" not in study.trained_runs
    assert study.adopted_parents == ["Meta-seed0"]
    assert training_flops(study.recorded_runs, "Meta-seed0") == 0


def test_unknown_tokens_leave_only_equal_budgets(smoke: Values) -> None:
    values = published(smoke)
    values["matrix"][0]["full"] = [8192]
    assert "matrix.0.full: no baseline can have the full pipeline's tokens" in refusal(values)
    assert Study(published(smoke)).runs["Meta-minitron_depth-0.5-seed0"].tokens_parent is None


def test_tokens_of_the_publisher_count_in_full_budgets(smoke: Values) -> None:
    values = published(smoke, tokens=20_000)
    values["matrix"][0]["full"] = [8192]
    study = Study(values)
    [full] = [pair.scratch for pair in study.pairs if pair.setting == "full"]
    # 20,000 of the parent, 8,192 of retraining, 1,024 of calibration, rounded up to batches of 1,024
    assert plan(study, full).tokens == 29 * 1024 + 0 == 29_696
    assert plan(study, full).window_start == 0


def test_rewound_weights_of_a_published_parent_are_refused(smoke: Values) -> None:
    values = published(smoke)
    values["matrix"][0]["rewind"] = [8192]
    assert "matrix.0.rewind: the initial weights of a published parent are not known" in refusal(values)


@pytest.mark.parametrize("name", ["P200B", "S4"])
def test_a_name_that_looks_like_tokens_is_refused(smoke: Values, name: str) -> None:
    assert f"the name {name!r} begins like those of pretrained parents" in refusal(published(smoke, name=name))


def test_a_published_parent_reads_its_own_tokens(smoke: Values) -> None:
    bpe = smoke["tokenizer"]
    assert "tokenizer: a published parent needs its own tokenizer" in refusal(published(smoke) | {"tokenizer": bpe})
    other = {"kind": "checkpoint", "vocab_size": 512, "source": LLAMA}
    assert "tokenizer: a published parent needs its own tokenizer" in refusal(published(smoke) | {"tokenizer": other})
    assert "tokenizer.source: this key is required" in refusal(smoke | {"tokenizer": other | {"source": None}})


@pytest.mark.parametrize("revision", ["main", "abc123", "D" * 40])
def test_a_revision_is_a_whole_commit(smoke: Values, revision: str) -> None:
    assert "parent.revision" in refusal(published(smoke, revision=revision))


def test_a_study_that_pretrains_takes_a_tokenizer_without_its_weights(smoke: Values) -> None:
    study = Study(smoke | {"tokenizer": {"kind": "checkpoint", "vocab_size": 128_256, "source": LLAMA}})
    [(key, acquisition)] = study.sources.acquisitions.items()
    assert acquisition == Acquisition(HubCheckpoint.model_validate(LLAMA), "tokenizer")
    assert key == "meta-llama___Llama-3.1-8B--dddddddd--tokenizer"
    assert study.sources.parent_folder is None
    assert tokenizer_options(study) == ["--vocab-size=128256", "--exactly"]
    assert runs_of(study, "parent")[0].plan is not None
    assert {run.target.shape.vocab_size for run in study.runs.values()} == {128_256}


def test_sources_have_folders_of_their_own() -> None:
    one, other = (PathCheckpoint(kind="path", path=path) for path in ("/a/llama", "/b/llama"))
    assert one.key != other.key
    assert (one.key.split("--")[0], one.label) == ("llama", "the folder llama")
    assert HubCheckpoint.model_validate(LLAMA | {"revision": "e" * 40}).key != HubCheckpoint.model_validate(LLAMA).key


def test_baselines_take_all_but_the_shape_from_the_parent(smoke: Values) -> None:
    study = Study(published(smoke))
    start = starting_point(study, "S4.1k-depth-0.5-seed0")
    assert start == {
        "target": study.paths.target("depth-0.5"), "like": study.paths.model("Meta-seed0"),
    }  # fmt: skip
    assert "like" not in starting_point(Study(smoke), "S4.1k-depth-0.5-seed0")


def test_random_weights_like_a_parent_share_its_rotary_scaling_and_positions() -> None:
    parent = published_llama(scaled=True)
    half = replace(PUBLISHED, layers=2)
    model = random_like(parent.config, half, seed=3)
    assert model.config.max_position_embeddings == POSITIONS
    assert model.config.rope_parameters == parent.config.rope_parameters
    assert torch.equal(model.model.rotary_emb.inv_freq, parent.model.rotary_emb.inv_freq)
    assert shape_of(model.config) == half
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("family", families())
def test_random_weights_like_a_parent_are_a_model_of_its_family(family: str) -> None:
    config = tiny_model(family=family).config
    model = random_like(config, replace(shape_of(config), layers=2), 0)
    assert type(model).__name__ == families()[family].architecture
    assert layer_types(model.config) == layer_types(config)[:2]


def test_random_weights_like_our_own_models_are_the_same_weights() -> None:
    shape = TRAINED_SHAPE
    ours = random_model(shape, 64, seed=5).state_dict()
    like = random_like(with_shape(config_of(shape, 64), shape), shape, seed=5).state_dict()
    assert ours.keys() == like.keys()
    assert all(torch.equal(ours[name], like[name]) for name in ours)


@pytest.mark.parametrize(
    ("eos", "tokens", "separator"),
    [
        ("<|turn|>", ["<|turn|>", "<|end_of_text|>"], "<|end_of_text|>"),
        ("<|turn|>", ["<|turn|>"], "<|turn|>"),
        ({"content": "</s>"}, ["</s>"], "</s>"),
    ],
)
def test_documents_are_separated_by_the_end_of_text_and_else_by_eos(
    tmp_path: Path, eos: Any, tokens: list[str], separator: str
) -> None:
    folder = with_special(tmp_path / "tokenizer", eos, *tokens)
    assert separator_of(folder) == load_tokenizer(folder).token_to_id(separator)


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path: Path) -> None:
    folder = with_special(tmp_path / "tokenizer", None)
    with pytest.raises(UserError, match="has no end-of-text token"):
        take_tokenizer(folder, VOCABULARY, tmp_path / "out", exactly=False)
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_is_checked_and_may_be_padded_in_a_parents_embedding(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "published")
    for size, exactly in ((VOCABULARY - 1, False), (VOCABULARY + 4, True)):
        with pytest.raises(UserError, match=f"has {VOCABULARY} entries, not {size}"):
            take_tokenizer(folder, size, tmp_path / "out", exactly=exactly)
    facts = take_tokenizer(folder, VOCABULARY + 4, tmp_path / "out", exactly=False)
    assert facts == {"entries": VOCABULARY, "separator": 0}
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_tokens_beyond_sixteen_bits_are_kept_whole(tmp_path: Path) -> None:
    assert token_dtype(65_536).itemsize == 2
    tokens = [128_255, 65_536, 0]
    write_tokens(tmp_path / "tokens", [tokens], vocab_size=128_256, shard_tokens=2, tokenizer_sha256="")
    store = TokenStore(tmp_path / "tokens")
    assert (store.dtype.itemsize, store.read(0, 3).tolist()) == (4, tokens)


@pytest.fixture
def unknown(tmp_path: Path) -> Tables:
    """Tables of a study whose parent's tokens are unknown."""
    stored(tmp_path / "tables", full=False, items=False)
    runs = pd.read_csv(tmp_path / "tables/runs.csv")
    runs.loc[runs["role"] != "scratch", ["tokens_parent", "tokens_total"]] = None
    runs.loc[runs["role"] == "parent", "tokens_train"] = 0
    runs.to_csv(tmp_path / "tables/runs.csv", index=False)
    return Tables(tmp_path / "tables")


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_if_the_parents_tokens_are_unknown(unknown: Tables, name: str) -> None:
    texts = " ".join(text.get_text() for text in drawn(name, unknown).findobj(Text))
    assert "nan" not in texts
    assert "parent's tokens not known" in texts


def test_models_are_compared_by_the_tokens_since_an_unknown_pretraining(unknown: Tables) -> None:
    data = FIGURES["pareto"].drawing.data(unknown)
    retrained = data[data["role"] == "retrained"]
    assert (retrained["tokens_total"] == retrained["tokens_train"]).all()
    assert data.loc[data["role"] == "parent", "tokens_total"].isna().all()
    assert not data.loc[data["role"] == "parent", "front_tokens_total"].any()
    assert data.loc[data["role"] == "parent", "front_params_nonzero"].all()


@pytest.mark.slow
def test_advice_from_an_unknown_parent_says_that_it_cannot_be_compared(unknown: Tables, tmp_path: Path) -> None:
    (tmp_path / "results/mine").mkdir(parents=True)
    (tmp_path / "tables").rename(tmp_path / "results/mine/tables")
    result = pvs(tmp_path, "recommend", "mine", "--tokens", "65536", "--ratio", "0.5")
    assert result.returncode == 0, result.stderr
    assert "Parent of unknown tokens." in result.stdout
    assert "The training tokens of the study's parent are unknown" in result.stdout


def test_the_study_of_smollm2_covers_the_six_methods_and_shortgpt(
    study_values: Callable[[str], Values],
) -> None:
    study = Study(study_values("smollm2"))
    pruned = {(run.method, run.target.ratio) for run in runs_of(study, "pruned")}
    methods = ("minitron_depth", "minitron_width", "flap", "sheared_llama", "wanda", "sparsegpt", "shortgpt")
    assert pruned == {(method, ratio) for method in methods for ratio in (0.5, 0.7)}
    shape = study.targets["parent"].shape
    assert shape.params_total == 134_515_008
    for name, target in study.targets.items():
        if target.granularity in ("depth", "width"):
            kept = target.shape.params_nonembedding / shape.params_nonembedding
            assert abs(1 - kept - target.ratio) < 1e-3, name
    assert len(packaged_benchmarks(study.config)) == 8
