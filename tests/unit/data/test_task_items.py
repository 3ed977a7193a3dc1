"""Task items are deterministic, balanced and distinct, and lm-eval takes each task file as it is."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.evaluation import TaskKind
from pruning_vs_scratch.data.documents import Document, write_documents
from pruning_vs_scratch.data.task_items import CHOICES, Item, make_items, passages_of, prompts_of
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.errors import UserError

KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
ITEMS = 20
NOUNS = [
    "river",
    "stone",
    "winter",
    "letter",
    "candle",
    "garden",
    "window",
    "bottle",
    "saddle",
    "mirror",
    "ladder",
    "button",
]
VERBS = [
    "carries",
    "follows",
    "remembers",
    "forgets",
    "measures",
    "answers",
    "borrows",
    "gathers",
    "scatters",
    "watches",
]


def play(seed: int) -> Document:
    """A small play with a cast, headings, stage directions, and speeches of six lines."""
    speeches = []
    for number in range(12):
        lines = [_verse(100 * seed + 7 * number + line) for line in range(6)]
        lines[2] += " [Aside.]"
        speeches.append("\n".join([f"{'ROSS' if number % 2 else 'FIRST WITCH'}.", *lines]))
    cast = "DUNCAN, King of Scotland.\nMALCOLM, his Son.\nLords and Gentlemen and others."
    head = f"ACT I.\n\nSCENE I. An open Place.\n\n{cast}\n\n[Enter three Witches,\nand others.]"
    return Document(f"play {seed}", "\n\n".join([head, *speeches]))


def _verse(number: int) -> str:
    a, b, c = NOUNS[number % 12], VERBS[number % 10], NOUNS[(5 * number + 1) % 12]
    return f"The {a} of day {number} {b} my quiet {c},"


DOCUMENTS = [play(seed) for seed in range(4)]


def made(kind: TaskKind, seed: int = 0, count: int = ITEMS) -> list[Item]:
    return make_items(kind, DOCUMENTS, count, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_items_that_do_not_fit_are_passed_over(kind: TaskKind) -> None:
    lengths = sorted(max(map(len, prompts_of(item))) for item in made(kind))
    limit = lengths[len(lengths) // 2]
    items = make_items(kind, DOCUMENTS, 4, 0, lambda text: len(text) <= limit)
    assert all(len(prompt) <= limit for item in items for prompt in prompts_of(item))
    with pytest.raises(UserError, match="yields 0"):
        make_items(kind, DOCUMENTS, 4, 0, lambda _text: False)


def test_only_spoken_lines_are_passages() -> None:
    passages = list(passages_of(DOCUMENTS[0]))
    assert len(passages) == 12
    assert all(len(passage.lines) == 6 for passage in passages)
    text = " ".join(line for passage in passages for line in passage.lines)
    assert not any(word in text for word in ("WITCH", "ROSS", "Aside", "Enter", "SCENE", "King", "Lords"))


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_deterministic_and_independent_of_order(kind: TaskKind) -> None:
    assert made(kind) == make_items(kind, reversed(DOCUMENTS), ITEMS, 0)
    assert made(kind) != made(kind, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_choices_are_distinct_and_answers_balanced(kind: TaskKind) -> None:
    items = made(kind)
    assert len({item["id"] for item in items}) == ITEMS
    assert all(len({choice.casefold() for choice in item["choices"]}) == CHOICES for item in items)
    assert Counter(item["answer"] for item in items) == dict.fromkeys(range(CHOICES), ITEMS // CHOICES)


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_what_the_text_says(kind: TaskKind) -> None:
    speeches = {passage.id: "\n".join(passage.lines) for d in DOCUMENTS for passage in passages_of(d)}
    delimiter = task_config(kind)["target_delimiter"]
    for item in made(kind):
        speech = speeches[item["id"].rpartition(":")[0]]
        told = [item["context"] + delimiter + choice in speech for choice in item["choices"]]
        assert told == [place == item["answer"] for place in range(CHOICES)]


def test_scrambles_keep_the_words_and_both_ends() -> None:
    for item in made("scramble"):
        words = [choice.split() for choice in item["choices"]]
        assert len({tuple(sorted(w)) for w in words}) == 1
        assert len({(w[0], w[-1]) for w in words}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_items_are_refused_with_the_number_possible(kind: TaskKind) -> None:
    with pytest.raises(UserError, match=r"ask for at most \d+") as caught:
        made(kind, count=10_000)
    possible = int(str(caught.value).split("at most ")[1].split()[0])
    assert len(made(kind, count=possible)) == possible


def test_the_entry_point_writes_items_and_manifest(tmp_path: Path) -> None:
    documents, out, manifest = (tmp_path / name for name in ("test.jsonl", "items.jsonl", "items.json"))
    write_documents(documents, DOCUMENTS)
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/make_task_items.py"), "--kind", "scramble"]
    command += ["--documents", str(documents), "--items", "8", "--seed", "3", "--longest", "1000"]
    save_tokenizer(train_bpe([document.text for document in DOCUMENTS], 300), tmp_path / "tokenizer")
    command += ["--tokenizer", str(tmp_path / "tokenizer")]
    subprocess.run([*command, "--out", str(out), "--manifest", str(manifest)], check=True, capture_output=True)
    assert [json.loads(line) for line in out.read_text().splitlines()] == made("scramble", seed=3, count=8)
    assert json.loads(manifest.read_text())["facts"] == {"items": 8, "chance": 0.25, "answers": [2, 2, 2, 2]}


# lm-eval


def task_config(kind: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / f"config/tasks/{kind}.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All tasks, scored by lm-eval with a tiny random model and no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")  # read when lm-eval imports datasets
        from lm_eval import evaluator
        from lm_eval.tasks import TaskManager

        folder = tmp_path_factory.mktemp("tasks")
        tasks = [_with_items(kind, folder) for kind in KINDS]
        manager = TaskManager(include_defaults=False)
        return evaluator.simple_evaluate(model=_tiny_model(), tasks=tasks, task_manager=manager, bootstrap_iters=0)


def _with_items(kind: TaskKind, folder: Path) -> dict[str, Any]:
    file = folder / f"{kind}.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in made(kind)), encoding="utf-8")
    options = {"data_files": {"test": str(file)}, "cache_dir": str(folder / "cache")}
    return task_config(kind) | {"dataset_kwargs": options}


def _tiny_model() -> Any:
    import torch
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=512, **shape))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    return HFLM(pretrained=model, tokenizer=fast, batch_size=32, device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_lm_eval_scores_every_item(kind: TaskKind, scored: dict[str, Any]) -> None:
    samples = scored["samples"][kind]
    assert len(samples) == ITEMS
    assert {sample["doc"]["id"] for sample in samples} == {item["id"] for item in made(kind)}
    mean = sum(sample["acc"] for sample in samples) / ITEMS
    assert scored["results"][kind]["acc,none"] == pytest.approx(mean)
    assert scored["n-shot"][kind] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_lm_eval_reads_context_choices_and_answer(kind: TaskKind, scored: dict[str, Any]) -> None:
    for sample in scored["samples"][kind]:
        document = sample["doc"]
        delimiter = task_config(kind)["target_delimiter"]
        assert [tuple(pair) for pair in sample["arguments"]] == [
            (document["context"], delimiter + choice) for choice in document["choices"]
        ]
        assert sample["target"] == document["answer"]
        scores = [response[0][0] for response in sample["resps"]]
        assert sample["acc"] == (max(scores) == scores[document["answer"]])


@pytest.mark.parametrize("kind", KINDS)
def test_task_files_state_the_level_of_guessing(kind: TaskKind) -> None:
    config = task_config(kind)
    assert config["task"] == kind
    assert config["metadata"]["chance"] == 1 / CHOICES
