"""A training text in parts through real Snakemake: from a hub to windows; a larger budget reads another part alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from checkpoints_world import VOCABULARY, write_published
from hub_server import HubServer, hub_server
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.data.documents import read_documents
from pruning_vs_scratch.data.parts import PartReader
from pruning_vs_scratch.data.splits import HELD_OUT
from pruning_vs_scratch.data.tokenizer import load_tokenizer, train_bpe
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.planning.measure import time_of_text
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.times import times_table
from test_parts import NAME, NAMES, REVISION, source, write_pages
from test_workflow import checkout, planned_jobs, snakemake

pytestmark = pytest.mark.workflow

STUDY = ("--configfile", "config/smoke.yaml", "config/pages.yaml")
PARTS = 2


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    write_pages(tmp_path / "root" / NAME)
    with hub_server(tmp_path / "root", {NAME: REVISION}) as server:
        yield server


def test_a_text_of_many_files_is_made_part_by_part(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkout(tmp_path / "checkout")
    write_published(folder / "data/tokenizer")
    overlay = {
        "study": "pages",
        "corpus": {
            "sources": {"pages": source(tokens_per_file=8_000, files_per_part=2).model_dump()},
            "train": [{"source": "pages"}],
            "splits": {name: {"include": None, "fraction": 0.1} for name in HELD_OUT},
        },
        "tokenizer": {
            "kind": "checkpoint", "vocab_size": VOCABULARY, "source": {"kind": "path", "path": "data/tokenizer"},
        },
        "parent": {"tokens": 8_192},
    }  # fmt: skip
    (folder / "config/pages.yaml").write_text(yaml.safe_dump(overlay))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.cuts[NAMES[0]] = [50]
    corpora = ["resources/pages/text_check.json", "resources/pages/tokens/train"]
    result = snakemake(folder, *corpora, *STUDY)
    assert result.returncode == 0, result.stdout + result.stderr
    assert hub.ranges[NAMES[0]][1:] in ([0], [50])  # gone on with, or begun anew where too little came to be kept

    store = TokenStore(folder / "resources/pages/tokens/train")
    manifests = [
        json.loads((folder / f"resources/pages/parts/part-0000{i}/manifest.json").read_text()) for i in range(PARTS)
    ]
    assert [manifest["facts"]["tokens"] for manifest in manifests] == [
        sum(shard["tokens"] for shard in store.index["shards"] if f"part-0000{i}/" in shard["file"])
        for i in range(PARTS)
    ]
    windows = Windows(store, 128, 0)
    assert windows.read(np.arange(windows.count)).shape == (windows.count, 129)
    held_out = [d.id for name in HELD_OUT for d in read_documents(folder / f"resources/pages/corpora/{name}.jsonl")]
    assert {name.partition("#")[0] for name in held_out} <= set(NAMES)
    assert str(tmp_path) not in json.dumps(manifests)

    monkeypatch.chdir(folder)
    config = load_config([Path(f"config/{name}.yaml") for name in ("config", "smoke", "pages")])
    study = Study(config.model_dump())
    spent = time_of_text(study)
    times = times_table(study).set_index("phase")["jobs"]
    assert (times["text"], times["download"]) == (2 * PARTS + len(study.extracted_corpora) + 5, PARTS + 1)
    assert {work: count for work, (count, _) in spent.items()} == dict.fromkeys(("extract", "tokenize"), len(store))
    assert spent["tokenize"][1] == sum(manifest["seconds"] for manifest in manifests)

    again = snakemake(folder, "-n", *corpora, *STUDY)
    assert "Nothing to be done" in again.stdout + again.stderr
    # Larger budgets ask for another part; what was made of the others stays.
    overlay["parent"] = {"tokens": 16_384}
    (folder / "config/pages.yaml").write_text(yaml.safe_dump(overlay))
    jobs = planned_jobs(folder, *corpora, *STUDY)
    assert (jobs["acquire_part"], jobs["tokenize_part"]) == (1, 1)


def test_a_tokenizer_is_trained_on_the_first_part(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkout(tmp_path / "checkout")
    overlay = {
        "study": "pages",
        "corpus": {
            "sources": {"pages": source(tokens_per_file=8_000, files_per_part=2).model_dump()},
            "train": [{"source": "pages"}],
            "splits": {name: {"include": None, "fraction": 0.1} for name in HELD_OUT},
        },
        "tokenizer": {"vocab_size": 300},
        "parent": {"tokens": 8_192},
    }
    (folder / "config/pages.yaml").write_text(yaml.safe_dump(overlay))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    result = snakemake(folder, "resources/pages/tokens/train", *STUDY)
    assert result.returncode == 0, result.stdout + result.stderr

    monkeypatch.chdir(folder)
    study = Study(load_config([Path(f"config/{name}.yaml") for name in ("config", "smoke", "pages")]).model_dump())
    first = next(iter(study.parts.values()))
    assert len(study.parts) == PARTS
    reader = PartReader(study.config.corpus, study.first_part, first.files)
    expected = train_bpe([document.text for document in reader], 300)
    assert load_tokenizer(folder / "resources/pages/tokenizer").get_vocab() == expected.get_vocab()
    manifest = json.loads((folder / "resources/pages/tokenizer.manifest.json").read_text())
    assert list(manifest["inputs"]) == ["part"]
    # A larger budget reads another part, and trains no other tokenizer.
    overlay["parent"] = {"tokens": 16_384}
    (folder / "config/pages.yaml").write_text(yaml.safe_dump(overlay))
    jobs = planned_jobs(folder, "resources/pages/tokens/train", *STUDY)
    assert (jobs["tokenize_part"], jobs.get("train_tokenizer", 0)) == (1, 0)
