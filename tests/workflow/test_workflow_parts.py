"""A training text in parts through real Snakemake: from a hub to windows; a larger budget changes no job."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from checkouts import checkout, planned_jobs, snakemake, snakemake_kept_warm
from checkpoints_world import VOCABULARY, write_published
from hub_server import HubServer, hub_server
from parted_pages import NAME, NAMES, REVISION, source, write_pages
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.data.documents import LeftOut, read_documents
from pruning_vs_scratch.data.parts import PartReader, training_documents
from pruning_vs_scratch.data.splits import HELD_OUT
from pruning_vs_scratch.data.tokenizer import load_tokenizer, train_bpe
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import Windows
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.planning.measure import time_of_text
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.times import times_table

pytestmark = pytest.mark.workflow

STUDY = ("--configfile", "config/smoke.yaml", "config/pages.yaml")
PARTS = 2
FEW_WINDOWS = {"pruning": {"calibration": {"sequences": 4}}, "training": {"validation": {"sequences": 4}}}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    write_pages(tmp_path / "root" / NAME)
    with hub_server(tmp_path / "root", {NAME: REVISION}) as server:
        yield server


def study_in_parts(fraction: float, **changes: Any) -> dict[str, Any]:
    """An overlay on the smallest study, with a tokenizer in data/."""
    return {
        "study": "pages",
        "corpus": {
            "sources": {"pages": source(**changes).model_dump()},
            "train": [{"source": "pages"}],
            "splits": {name: {"include": None, "fraction": fraction} for name in HELD_OUT},
        },
        "tokenizer": {
            "kind": "checkpoint", "vocab_size": VOCABULARY, "source": {"kind": "path", "path": "data/tokenizer"},
        },
    }  # fmt: skip


def test_a_text_of_many_files_is_made_part_by_part(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkout(tmp_path / "checkout")
    write_published(folder / "data/tokenizer")
    overlay = study_in_parts(0.1, tokens_per_file=5_500, files_per_part=2) | FEW_WINDOWS
    overlay["parent"] = {"tokens": 8_192}
    (folder / "config/pages.yaml").write_text(yaml.safe_dump(overlay))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.cuts[NAMES[0]] = [50]
    corpora = ["resources/pages/text_check.json", "resources/pages/tokens/train/first-2.check.json"]
    result = snakemake_kept_warm(folder, *corpora, *STUDY)
    assert result.returncode == 0, result.stdout + result.stderr
    assert hub.ranges[NAMES[0]][1:] in ([0], [50])  # gone on with, or begun anew where too little came to be kept

    store = TokenStore(folder / f"resources/pages/tokens/train/first-{PARTS}")
    manifests = [
        json.loads((folder / f"resources/pages/parts/part-0000{i}/tokens.manifest.json").read_text())
        for i in range(PARTS)
    ]
    assert [manifest["facts"]["tokens"] for manifest in manifests] == [
        sum(shard["tokens"] for shard in store.index["shards"] if f"part-0000{i}/" in shard["file"])
        for i in range(PARTS)
    ]
    windows = Windows(store, 128, 0)
    assert windows.read(np.arange(windows.count)).shape == (windows.count, 129)
    held_out = [d.id for name in HELD_OUT for d in read_documents(folder / f"resources/pages/corpora/{name}.jsonl")]
    assert {name.partition("#")[0] for name in held_out} == set(NAMES[:2])
    assert sum(manifest["facts"]["dropped"]["paragraphs"] for manifest in manifests) > 0
    assert str(tmp_path) not in json.dumps(manifests)

    monkeypatch.chdir(folder)
    config = load_config([Path(f"config/{name}.yaml") for name in ("config", "smoke", "pages")])
    study = Study(config.model_dump())
    spent = time_of_text(study)
    times = times_table(study).set_index("phase")["jobs"]
    # A part is divided; then gathered text, tokenizer, the joined text, and the checks that all is enough.
    expected = 1 + PARTS + len(study.text.extracted_corpora) + 2 + 1 + 2
    assert list(study.text.joined) == ["first-2"]
    assert (times["text"], times["download"]) == (expected, PARTS + 1)
    assert {work: count for work, (count, _) in spent.items()} == dict.fromkeys(("extract", "tokenize"), len(store))
    assert 0 < spent["extract"][1] < sum(manifest["seconds"] for manifest in manifests)
    assert sum(seconds for _, seconds in spent.values()) == pytest.approx(sum(m["seconds"] for m in manifests))

    again = snakemake(folder, "-n", *corpora, *STUDY)
    assert "Nothing to be done" in again.stdout + again.stderr
    # What a file holds is an estimate, by which no text is made. One that the text does not hold is refused.
    overlay["corpus"]["sources"]["pages"]["tokens_per_file"] = 6_500
    (folder / "config/pages.yaml").write_text(yaml.safe_dump(overlay))
    assert planned_jobs(folder, *corpora, *STUDY) == {"check_joined_text": 1, "total": 1}
    refused = snakemake(folder, *corpora, *STUDY)
    assert refused.returncode == 1
    log = (folder / "results/pages/logs/check_joined_text/first-2.log").read_text()
    assert f"holds {len(store):,} tokens, and 22,100 by tokens_per_file" in log
    assert "lower that to 91% of it or less" in log


SMALL = {
    "parent": {"tokens": 4_096},
    "matrix": [{"methods": ["minitron_depth"], "ratios": [0.5], "retrain": [2_048], "full": [2_048]}],
    "evaluation": {
        "group_by": "run",
        "perplexity": {"corpora": {"test": 4, "folio": None, "milton": None, "encyclopedia": None}},
        "tasks": {"local": {"continuation": None, "scramble": None, "last_word": None}},
        "speed": None,
    },
}
"""Beside the text, which has no other evaluation corpus."""
NEW_RUNS = ["P4.1k-minitron_depth-0.5-R8.19k-seed0", "S8.19k-depth-0.5-seed0"]


def write_study(folder: Path, *retrain: int) -> None:
    """The small study with some budgets."""
    overlay = study_in_parts(0.15, tokens_per_file=5_500, held_out_files=2) | FEW_WINDOWS | SMALL
    overlay["corpus"]["evaluation"] = {"folio": None, "milton": None, "encyclopedia": None}
    overlay["matrix"] = [SMALL["matrix"][0] | {"retrain": list(retrain)}]
    (folder / "config/pages.yaml").write_text(yaml.safe_dump(overlay))


def made_before(folder: Path) -> dict[Path, tuple[int, str]]:
    """Files of the study that no larger budget may write again: when they were written, and what they hold."""
    files = [
        *(folder / "results/pages/runs").rglob("*"),
        *(folder / "results/pages/evaluation").rglob("*"),
        *(folder / "resources/pages").rglob("*"),
    ]
    return {file: (file.stat().st_mtime_ns, sha256_of_file(file)) for file in files if file.is_file()}


def test_a_larger_budget_trains_the_new_runs_and_nothing_else(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkout(tmp_path / "checkout")
    write_published(folder / "data/tokenizer")
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    write_study(folder, 2_048)
    checks = ["text_check.json", *(f"tokens/train/first-{count}.check.json" for count in (2, 3))]
    wanted = ["results/pages/results.csv", *(f"resources/pages/{check}" for check in checks)]
    result = snakemake_kept_warm(folder, *wanted, *STUDY)
    assert result.returncode == 0, result.stdout + result.stderr
    before = made_before(folder)
    tables = {name: pd.read_csv(folder / f"results/pages/{name}.csv") for name in ("results", "ledger")}

    write_study(folder, 2_048, 8_192)
    planned = snakemake(folder, "-n", *STUDY)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    jobs = re.findall(r"^Job \d+: (.*)$", planned.stdout + planned.stderr, re.MULTILINE)
    words = (
        "Download",
        "Divide",
        "Gather",
        "Tokenise",
        "Join",
        "Check that there",
        "Score",
        "Prune",
        "Train",
        "Evaluate",
    )
    assert sorted(job for job in jobs if job.startswith(words)) == sorted(
        [
            "Download part-00003", "Tokenise part-00003", "Join the tokens of first-4",
            "Check that there is enough text in first-4",
            *(f"Train {run}" for run in NEW_RUNS), *(f"Evaluate the checkpoints of {run}" for run in NEW_RUNS),
        ]
    )  # fmt: skip
    assert not [job for job in jobs if job.startswith(("Write the target", "Take", "Acquire"))]

    result = snakemake_kept_warm(folder, *wanted, *STUDY)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {file: fact for file, fact in made_before(folder).items() if file in before} == before
    for name, earlier in tables.items():
        table = pd.read_csv(folder / f"results/pages/{name}.csv")
        assert set(table["run"]) == {*earlier["run"], *NEW_RUNS}
        pd.testing.assert_frame_equal(table[table["run"].isin(earlier["run"])].reset_index(drop=True), earlier)
    again = snakemake(folder, "-n", *wanted, *STUDY)
    assert "Nothing to be done" in again.stdout + again.stderr

    texts = [TokenStore(folder / f"resources/pages/tokens/train/first-{count}") for count in (3, 4)]
    shorter, longer = (Windows(text, 128, 0) for text in texts)
    sequences = np.arange(shorter.count)
    np.testing.assert_array_equal(longer.read(sequences), shorter.read(sequences))


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
    result = snakemake_kept_warm(folder, f"resources/pages/tokens/train/first-{PARTS}", *STUDY)
    assert result.returncode == 0, result.stdout + result.stderr

    monkeypatch.chdir(folder)
    study = Study(load_config([Path(f"config/{name}.yaml") for name in ("config", "smoke", "pages")]).model_dump())
    first = next(iter(study.text.parts.values()))
    assert len(study.text.parts) == PARTS
    reader = PartReader(study.text.first_part, first.files, "text", LeftOut(0))
    expected = train_bpe([document.text for document in training_documents(reader, study.config.corpus.splits)], 300)
    assert load_tokenizer(folder / "resources/pages/tokenizer").get_vocab() == expected.get_vocab()
    manifest = json.loads((folder / "resources/pages/tokenizer.manifest.json").read_text())
    assert list(manifest["inputs"]) == ["part"]
    # A larger budget reads another part, and trains no other tokenizer.
    overlay["parent"] = {"tokens": 24_576}
    (folder / "config/pages.yaml").write_text(yaml.safe_dump(overlay))
    jobs = planned_jobs(folder, f"resources/pages/tokens/train/first-{PARTS + 1}", *STUDY)
    assert (jobs["tokenize_part"], jobs.get("train_tokenizer", 0)) == (1, 0)
