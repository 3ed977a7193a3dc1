"""The eight benchmarks in miniature: a few made-up items each, in the real data sets' columns and splits."""

import random
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, DatasetDict, Features, Sequence, Value

from pruning_vs_scratch.config.hub_tasks import PAPERS_TASKS, hub_task

Rows = list[dict[str, Any]]

BENCHMARKS = {name: hub_task(name) for name in PAPERS_TASKS}

ITEMS = 8
CHOICES_OF_TEXTS = {"text": Sequence(Value("string")), "label": Sequence(Value("string"))}
WORDS = ("the", "a", "ship", "sea", "king", "rose", "sings", "runs", "cold", "bright", "never", "of", "under", "stone")
SPLITS = {
    "winogrande": ("train", "validation"),
    "arc_challenge": ("train", "validation", "test"),
    "arc_easy": ("train", "validation", "test"),
    "hellaswag": ("train", "validation", "test"),
    "piqa": ("train", "validation"),
    "sciq": ("train", "validation", "test"),
    "boolq": ("train", "validation", "test"),
    "openbookqa": ("train", "validation", "test"),
}


def phrase(rng: random.Random, words: int = 5) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def multiple_choice(rng: random.Random, question: str, number: int) -> dict[str, Any]:
    labels = list("ABCD")
    choices = {"text": [phrase(rng, 3) for _ in labels], "label": labels}
    return {"id": str(number), question: phrase(rng, 8) + "?", "choices": choices, "answerKey": rng.choice(labels)}


def winogrande(rng: random.Random, _: int) -> dict[str, Any]:
    return {
        "sentence": f"{phrase(rng)} because _ {phrase(rng)}.",
        "option1": "Ann", "option2": "Bob", "answer": rng.choice("12"),
    }  # fmt: skip


def hellaswag(rng: random.Random, number: int) -> dict[str, Any]:
    start, more = phrase(rng), phrase(rng, 2)
    return {
        "ind": number, "activity_label": "Sailing", "ctx_a": start, "ctx_b": more, "ctx": f"{start} {more}",
        "endings": [f"{phrase(rng)} [step] on." for _ in range(4)], "source_id": f"video~{number // 2}",
        "split": "val", "split_type": "indomain", "label": rng.choice("0123"),
    }  # fmt: skip


def boolq(rng: random.Random, number: int) -> dict[str, Any]:
    passage = random.Random(number // 3)
    return {
        "question": phrase(rng), "passage": f"Sea -- {phrase(passage, 20)}", "idx": number, "label": rng.randrange(2),
    }  # fmt: skip


def sciq(rng: random.Random, _: int) -> dict[str, Any]:
    names = ("question", "distractor3", "distractor1", "distractor2", "correct_answer", "support")
    return {name: phrase(rng, 6 if name in ("question", "support") else 2) for name in names}


def piqa(rng: random.Random, _: int) -> dict[str, Any]:
    return {"goal": phrase(rng), "sol1": phrase(rng), "sol2": phrase(rng), "label": rng.randrange(2)}


TEXT, INTEGER = Value("string"), Value("int32")
MAKERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "winogrande": (winogrande, dict.fromkeys(("sentence", "option1", "option2", "answer"), TEXT)),
    "arc_challenge": (
        lambda rng, number: multiple_choice(rng, "question", number),
        {"id": TEXT, "question": TEXT, "choices": CHOICES_OF_TEXTS, "answerKey": TEXT},
    ),
    "openbookqa": (
        lambda rng, number: multiple_choice(rng, "question_stem", number),
        {"id": TEXT, "question_stem": TEXT, "choices": CHOICES_OF_TEXTS, "answerKey": TEXT},
    ),
    "hellaswag": (
        hellaswag,
        {
            "ind": INTEGER, "activity_label": TEXT, "ctx_a": TEXT, "ctx_b": TEXT, "ctx": TEXT,
            "endings": Sequence(TEXT), "source_id": TEXT, "split": TEXT, "split_type": TEXT, "label": TEXT,
        },
    ),
    "piqa": (
        piqa, {"goal": TEXT, "sol1": TEXT, "sol2": TEXT, "label": datasets.ClassLabel(names=["0", "1"])},
    ),
    "sciq": (
        sciq,
        dict.fromkeys(("question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"), TEXT),
    ),
    "boolq": (
        boolq,
        {"question": TEXT, "passage": TEXT, "idx": INTEGER, "label": datasets.ClassLabel(names=["False", "True"])},
    ),
}  # fmt: skip
MAKERS["arc_easy"] = MAKERS["arc_challenge"]


def items_of(task: str, split: str, count: int = ITEMS) -> Rows:
    """Made-up items, the same each time."""
    maker, _ = MAKERS[task]
    rng = random.Random(f"{task} {split}")
    return [maker(rng, number) for number in range(count)]


def dataset_of(task: str) -> DatasetDict:
    """All splits of a task's data set."""
    features = Features(MAKERS[task][1])
    return DatasetDict({split: Dataset.from_list(items_of(task, split), features) for split in SPLITS[task]})


def write_repository(task: str, root: Path) -> None:
    """A task's data as files of a hub repository: parquet, and a card that lists the configuration."""
    benchmark = BENCHMARKS[task].dataset
    folder, config = root / benchmark.dataset, benchmark.config or "default"
    splits = []
    for split, data in dataset_of(task).items():
        name = f"{config}/{split}-00000-of-00001.parquet"
        (folder / config).mkdir(parents=True, exist_ok=True)
        data.to_parquet(folder / name)
        splits.append(f"  - split: {split}\n    path: {name}\n")
    card = folder / "README.md"
    listed = card.read_text().removesuffix("---\n") if card.exists() else "---\nconfigs:\n"
    card.write_text(f"{listed}- config_name: {config}\n  data_files:\n{''.join(splits)}---\n")


def write_prepared(task: str, home: Path) -> None:
    """A task's data as HF_HOME holds it once ``datasets`` prepared it."""
    benchmark = BENCHMARKS[task].dataset
    name = benchmark.dataset.split("/")[1]
    place = home / "datasets" / benchmark.dataset.replace("/", "___") / (benchmark.config or "default") / "0.0.0"
    place = place / str(benchmark.revision)
    place.mkdir(parents=True)
    infos = datasets.SplitDict(dataset_name=name)
    for split, data in dataset_of(task).items():
        with datasets.arrow_writer.ArrowWriter(
            path=str(place / f"{name}-{split}.arrow"), features=data.features
        ) as writer:
            writer.write_table(data.data.table)
            examples, size = writer.finalize()
        infos[split] = datasets.SplitInfo(split, size, examples, dataset_name=name)
    info = datasets.DatasetInfo(
        features=data.features, builder_name="parquet", dataset_name=name, config_name=benchmark.config or "default",
        version="0.0.0", splits=infos,
    )  # fmt: skip
    info.write_to_directory(str(place))
