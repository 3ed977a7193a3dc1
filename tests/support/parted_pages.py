"""Six files of pages, as a data set of a hub has them, and a source that names them."""

import json
import random
from pathlib import Path
from typing import Any

import zstandard

from pruning_vs_scratch.config.corpus import HubFilesSource

NAME, REVISION = "owner/pages", "a" * 40
FILES = "group_{1..2}/part_{00..02}.jsonl.zst"
NAMES = [f"group_{group}/part_{number:02d}.jsonl.zst" for group in (1, 2) for number in range(3)]


def source(**changes: Any) -> HubFilesSource:
    values = {"kind": "hub_files", "dataset": NAME, "revision": REVISION, "files": FILES, "tokens_per_file": 1000}
    return HubFilesSource.model_validate(values | changes)


def write_pages(folder: Path) -> None:
    """Six files of pages, some of which repeat sentences of others."""
    rng = random.Random(0)
    words = [f"w{i}" for i in range(300)]
    common = [" ".join(rng.choices(words, k=12)) for _ in range(10)]
    for name in NAMES:
        pages = [
            "\n\n".join([" ".join(rng.choices(words, k=30)), *([rng.choice(common)] if rng.random() < 0.3 else [])])
            for _ in range(40)
        ]
        lines = "".join(json.dumps({"text": page, "url": "x"}) + "\n" for page in pages)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(zstandard.compress(lines.encode()))
