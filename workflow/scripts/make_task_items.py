"""Make the items of a local lm-eval task from held-out text."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import get_args

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.evaluation import TaskKind
from pruning_vs_scratch.data.documents import read_documents
from pruning_vs_scratch.data.task_items import CHOICES, make_items
from pruning_vs_scratch.data.tokenizer import load_tokenizer
from pruning_vs_scratch.files import TOKENIZER_FILE, write_text
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Parse the arguments and write the items."""
    arguments = _parser().parse_args()
    manifest = ManifestWriter(
        "make_task_items", {name: getattr(arguments, name) for name in ("kind", "items", "seed", "longest")}
    )
    manifest.add_input("documents", arguments.documents)
    manifest.add_input("tokenizer", arguments.tokenizer / TOKENIZER_FILE)
    tokenizer = load_tokenizer(arguments.tokenizer)

    def fits(text: str) -> bool:
        found: bool = len(tokenizer.encode(text).ids) <= arguments.longest
        return found

    documents = read_documents(arguments.documents)
    items = make_items(arguments.kind, documents, arguments.items, arguments.seed, fits)
    write_text(arguments.out, "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    answers = Counter(item["answer"] for item in items)
    facts = {"items": len(items), "chance": 1 / CHOICES, "answers": [answers[place] for place in range(CHOICES)]}
    manifest.write(arguments.manifest, {"items": arguments.out}, facts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, choices=get_args(TaskKind), help="which task")
    parser.add_argument("--documents", required=True, type=Path, help="documents of the test split (.jsonl)")
    parser.add_argument("--tokenizer", required=True, type=Path, help="folder of the study's tokenizer")
    parser.add_argument("--longest", required=True, type=int, help="tokens that the models read at once")
    parser.add_argument("--items", required=True, type=int, help="number of items")
    parser.add_argument("--seed", required=True, type=int, help="seed of the choice of items and distractors")
    parser.add_argument("--out", required=True, type=Path, help="items to write (.jsonl)")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest to write")
    return parser


if __name__ == "__main__":
    cli.run(main)
