"""A training text that is read in parts: which files, what is held out of them, and what becomes of the others."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from checkpoints_world import write_published
from hub_server import HubServer, hub_server
from parted_pages import NAME, NAMES, REVISION, source, write_pages
from pruning_vs_scratch.artifacts import manifest_of
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.corpus import CorpusConfig, Splits
from pruning_vs_scratch.config.load import load_config, study_files
from pruning_vs_scratch.data import tokens
from pruning_vs_scratch.data.documents import Document, LeftOut, read_documents
from pruning_vs_scratch.data.held_out_runs import HeldOutRuns
from pruning_vs_scratch.data.parts import PartReader, TrainingText, divide_part, gather_held_out
from pruning_vs_scratch.data.splits import HELD_OUT, Divider
from pruning_vs_scratch.data.tokenizer import Encoder, load_tokenizer
from pruning_vs_scratch.data.tokens import TokenStore, join_tokens, write_tokens
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.parts import PartedSource, PartedText


def corpus_of(first: dict[str, Any], folder: Path) -> CorpusConfig:
    """Training text of a source, and an evaluation corpus that repeats some of it."""
    (folder / "poem").mkdir(exist_ok=True)
    poem = " ".join(f"w{i}" for i in range(0, 300, 7))
    (folder / "poem/poem.txt").write_text(f"{poem}\n\nand a line of its own, which no page holds, or ever will")
    return CorpusConfig.model_validate(
        {
            "sources": {"pages": first, "poems": {"kind": "path", "path": str(folder / "poem")}},
            "train": [{"source": "pages"}],
            "splits": {name: {"fraction": 0.1} for name in HELD_OUT},
            "evaluation": {"poem": {"source": "poems"}},
        }
    )


def acquired(pages: Path, folder: Path, names: list[str]) -> Path:
    """A part as acquire_part.py leaves it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pages / name, folder / name)
    ManifestWriter("test", {}).write(manifest_of(folder), {"part": folder}, {})
    return folder


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=3))
def test_names_are_numbered_as_a_shell_would(ranges: list[tuple[int, int, int]]) -> None:
    texts = [f"{{{first:0{width}d}..{first + more}}}" for first, more, width in ranges]
    numbered = source(files="-".join(texts) + ".jsonl")
    widths = [len(f"{first:0{width}d}") for first, _, width in ranges]
    numbers = itertools.product(*(range(first, first + more + 1) for first, more, _ in ranges))
    expected = ["-".join(f"{n:0{w}d}" for n, w in zip(each, widths, strict=True)) + ".jsonl" for each in numbers]
    assert [numbered.file(i) for i in range(numbered.count)] == expected


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ("pages.jsonl", "give an ascending range of numbers"),
        ("p_{3..1}.jsonl", "give an ascending range of numbers"),
        ("../p_{0..1}.jsonl", "without . and .."),
        ("/p_{0..1}.jsonl", "without . and .."),
        ("p_{0..1}.csv", "should match pattern"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(files: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        source(files=files)


def splits(**fractions: float) -> Splits:
    return Splits.model_validate({name: {"fraction": fractions.get(name, 0.1)} for name in HELD_OUT})


def parted(**changes: Any) -> PartedSource:
    return PartedSource(source(**changes), splits())


def test_only_so_many_files_are_asked_for_as_the_budgets_need() -> None:
    """The first part holds 700 tokens of training text a file, the others 1,000."""
    some = parted(files_per_part=2)
    assert some.held_out == ["part-00000"]
    assert [some.text(tokens).first for tokens in (1, 1_400, 1_401, 3_400, 3_401, 5_400)] == [1, 1, 2, 2, 3, 3]
    needed = some.parts([some.text(1_401)])
    assert {name: part.files for name, part in needed.items()} == {
        "part-00000": tuple(NAMES[:2]),
        "part-00001": tuple(NAMES[2:4]),
    }
    with pytest.raises(UserError, match=r"needs 5\.4k tokens for training, which is 7 files of 1k each"):
        some.text(5_401)


def test_parts_with_held_out_documents_are_read_whatever_the_budgets_are() -> None:
    some = parted(files_per_part=2, held_out_files=3)
    assert some.held_out == ["part-00000", "part-00001"]
    assert some.names(some.text(100)) == ["part-00000"]
    assert list(some.parts([some.text(100)])) == ["part-00000", "part-00001"]
    with pytest.raises(ValueError, match="held_out_files: 7 are more than the source's 6 files"):
        source(held_out_files=7)


def test_the_last_files_are_those_of_the_source_whatever_the_first_ones_are() -> None:
    some = parted(files_per_part=4)
    few, many = some.text(100, last=900), some.text(2_800, last=2_000)
    assert (few.name, many.name) == ("first-1-last-1", "first-1-last-1")
    assert some.names(few) == ["part-00000", "part-00001"]
    assert some.parts([few])["part-00001"].files == tuple(NAMES[4:])
    assert some.names(some.text(100, last=2_001)) == ["part-00000", "part-00001"]
    alone = parted()
    assert alone.names(alone.text(700, last=2_000)) == ["part-00000", "part-00004", "part-00005"]
    assert alone.text(0, last=1).name == "last-1"
    # They meet, but no file is read twice.
    assert alone.names(alone.text(3_700, last=2_000)) == [f"part-0000{number}" for number in range(6)]
    with pytest.raises(UserError, match=r"needs 5\.7k tokens for training, which is 7 files"):
        alone.text(3_701, last=2_000)


def read_by_force(pages: Path, names: list[str]) -> list[Document]:
    lines = {name: zstandard.decompress((pages / name).read_bytes()).decode().splitlines() for name in names}
    return [
        Document(f"{name}#{number:09d}", json.loads(line)["text"])
        for name, found in lines.items()
        for number, line in enumerate(found, start=1)
    ]


def runs_by_force(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}


def test_parts_are_split_gathered_and_tokenised_without_held_out_text(tmp_path: Path) -> None:
    write_pages(tmp_path / "pages")
    tokenizer = write_published(tmp_path / "tokenizer")
    corpus = corpus_of(source(files_per_part=2).model_dump(), tmp_path)
    corpus = corpus.model_copy(update={"splits": splits(calibration=0.3, validation=0.2, test=0.2)})
    parts = parted(files_per_part=2).parts([PartedText(3)])
    folders = {
        name: acquired(tmp_path / "pages", tmp_path / "acquired" / name, list(part.files))
        for name, part in parts.items()
    }
    readers = {name: PartReader(folders[name], part.files, "text", LeftOut(0)) for name, part in parts.items()}
    divided = divide_part(readers["part-00000"], corpus.splits, tmp_path / "divided")
    runs_file = tmp_path / "runs.safetensors"
    facts, _ = gather_held_out(corpus, {}, [tmp_path / "divided"], tmp_path / "corpora", runs_file)
    gathered = {name: list(read_documents(tmp_path / f"corpora/{name}.jsonl")) for name in (*HELD_OUT, "poem")}

    # What is held out is of the first two files; the others are for training alone.
    first = read_by_force(tmp_path / "pages", NAMES[:2])
    divider = Divider(corpus.splits)
    split = {document.id: divider.split_of(document.id) for document in first}
    expected = {name: [document for document in first if split[document.id] == name] for name in HELD_OUT}
    assert divided["documents"] == {name: len(found) for name, found in expected.items()} | {
        "train": len(first) - sum(map(len, expected.values()))
    }
    assert gathered["calibration"] == expected["calibration"]
    calibration = {run for d in gathered["calibration"] for run in runs_by_force(d.text.split())}
    for name in ("validation", "test"):
        assert {d.id for d in gathered[name]} <= {d.id for d in expected[name]}
        assert not calibration & {run for d in gathered[name] for run in runs_by_force(d.text.split())}
    assert sum(facts[name]["words_dropped"] for name in ("validation", "test")) > 0

    encoder, plain = Encoder(tokenizer, threads=2), load_tokenizer(tokenizer)
    forbidden = {
        run
        for documents in gathered.values()
        for document in documents
        for block in document.text.split("\n\n")
        for run in runs_by_force(block.replace(",", "").split())
    }
    one_by_one: list[int] = []
    dropped = 0
    for name, part in parts.items():
        held_out = corpus.splits if name == "part-00000" else None
        training = TrainingText(readers[name], held_out, HeldOutRuns.load(runs_file))
        write_tokens(
            tmp_path / name, encoder.encode(document.text for document in training), vocab_size=encoder.vocab_size,
            shard_tokens=5000, tokenizer_sha256=encoder.sha256,
        )  # fmt: skip
        kept, lost = 0, 0
        for document in read_by_force(tmp_path / "pages", list(part.files)):
            if split.get(document.id, "train") != "train":
                continue
            blocks = [block for block in document.text.split("\n\n") if not forbidden & runs_by_force(block.split())]
            lost += document.text.count("\n\n") + 1 - len(blocks)
            if blocks:
                kept += 1
                ids = plain.encode("\n\n".join(blocks), add_special_tokens=False).ids
                one_by_one += [encoder._separator, *ids]
        assert (training.facts["documents"], training.facts["dropped"]["paragraphs"]) == (kept, lost)
        dropped += lost
    assert dropped > 0
    join_tokens(tmp_path / "deep/train", {name: tmp_path / name for name in parts})
    store = TokenStore(tmp_path / "deep/train")
    assert len(store.index["shards"]) > len(parts)
    np.testing.assert_array_equal(store.read(0, len(store)), one_by_one)
    lengths = [len(TokenStore(tmp_path / name)) for name in parts]
    starts = [0, *itertools.accumulate(lengths)]
    assert [(block.name, block.start, block.tokens) for block in store.blocks] == list(
        zip(parts, starts, lengths, strict=False)
    )


def test_a_split_without_documents_says_what_to_raise(tmp_path: Path) -> None:
    write_pages(tmp_path / "pages")
    folder = acquired(tmp_path / "pages", tmp_path / "acquired", NAMES[:1])
    corpus = corpus_of(source().model_dump(), tmp_path)
    corpus = corpus.model_copy(update={"splits": splits(test=1e-9)})
    divide_part(PartReader(folder, NAMES[:1], "text", LeftOut(0)), corpus.splits, tmp_path / "divided")
    with pytest.raises(UserError, match=r"the test split is empty: give it a larger fraction .* held_out_files"):
        gather_held_out(corpus, {}, [tmp_path / "divided"], tmp_path / "corpora", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_tokens_of_another_tokenizer_are_not_joined(tmp_path: Path) -> None:
    for name, digest in (("a", "0"), ("b", "1")):
        write_tokens(tmp_path / name, [[1, 2]], vocab_size=9, shard_tokens=5, tokenizer_sha256=digest)
    with pytest.raises(UserError, match="b was tokenised by another tokenizer than"):
        join_tokens(tmp_path / "joined", {name: tmp_path / name for name in "ab"})
    assert not (tmp_path / "joined").exists()


def test_of_a_store_beyond_the_limit_sizes_are_compared_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tokens(tmp_path / "a", [[1, 2, 3]], vocab_size=9, shard_tokens=5, tokenizer_sha256="0")
    shard = tmp_path / "a/shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match="does not match its hash"):
        TokenStore(tmp_path / "a")
    monkeypatch.setattr(tokens, "HASHED_BYTES", 5)
    TokenStore(tmp_path / "a")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="is truncated"):
        TokenStore(tmp_path / "a")


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, tuple[Change, str]] = {
    "other text beside it": (
        lambda v: v["corpus"]["train"].append({"source": "shakespeare"}),
        "corpus.train: pages is read in parts: name it alone",
    ),
    "a choice of documents": (
        lambda v: v["corpus"]["train"][0].update(include=["a*"]),
        "corpus.train: pages is read in parts: name it alone, without include and exclude",
    ),
    "a split by name": (
        lambda v: v["corpus"]["splits"].update(test={"include": ["a*"]}),
        "corpus.splits.test: pages is read in parts: give a fraction",
    ),
    "evaluation": (
        lambda v: v["corpus"]["evaluation"].update(folio={"source": "pages"}),
        "corpus.evaluation.folio.source: pages is read in parts, for training only",
    ),
    "domains": (
        lambda v: v["corpus"].update(domains={name: {"include": ["*"], "proportion": 0.5} for name in "ab"}),
        "corpus.domains: pages is read in parts, which have no domains",
    ),
}


def in_parts(smoke: dict[str, Any]) -> dict[str, Any]:
    smoke["corpus"]["sources"]["pages"] = source(tokens_per_file=10**5).model_dump()
    smoke["corpus"]["train"] = [{"source": "pages"}]
    smoke["corpus"]["splits"] = {name: {"fraction": 0.1} for name in HELD_OUT}
    repository = {"kind": "hub", "repository": "owner/model", "revision": REVISION}
    smoke["tokenizer"] = {"kind": "checkpoint", "vocab_size": 512, "source": repository}
    return smoke


@pytest.mark.parametrize(("change", "text"), CHANGES.values(), ids=CHANGES)
def test_what_parts_cannot_do_is_refused(smoke: dict[str, Any], change: Change, text: str) -> None:
    values = in_parts(smoke)
    change(values)
    with pytest.raises(UserError, match=text):
        Study(values)


def test_a_study_says_which_files_it_needs(smoke: dict[str, Any]) -> None:
    study = Study(in_parts(smoke))
    assert [part.files for part in study.text.parts.values()] == [(NAMES[0],)]
    assert "train" not in study.text.extracted_corpora
    assert study.text.joined == {"first-1": ["part-00000"]}


def test_a_run_reads_the_parts_that_it_needs_and_a_larger_budget_changes_none_of_them(smoke: dict[str, Any]) -> None:
    """The parent reads 16k tokens; retraining the next 4k or 8k; the full baseline all of them."""
    values = in_parts(smoke)
    values["corpus"]["sources"]["pages"]["tokens_per_file"] = 18_000
    values["corpus"]["splits"] = {name: {"fraction": 0.01} for name in HELD_OUT}
    values["matrix"].append({"methods": ["sheared_llama"], "ratios": [0.5], "retrain": [4096]})
    values["pruning"]["sheared_llama"] = {"tokens": 1024, "global_batch_size": 2, "micro_batch_size": 1}
    before = Study(values)
    values["matrix"][0]["retrain"].append(65536)
    after = Study(values)
    learned = "P16.4k-sheared_llama-0.5-seed0"
    kept = set(before.runs) - {learned}
    assert {name: before.text.of_run(name) for name in kept if before.run(name).plan} == {
        name: after.text.of_run(name) for name in kept if after.run(name).plan
    }
    assert before.text.of_run("P16.4k-seed0").name == "first-1"
    assert before.text.joined["first-2"] == ["part-00000", "part-00001"]
    assert list(before.text.parts) == ["part-00000", "part-00001", "part-00005"]
    assert after.text.of_run("P16.4k-minitron_depth-0.5-R65.5k-seed0").name == "first-5"
    assert before.text.joined[before.text.of_run(learned).name][-1] == "part-00005"
    assert set(before.text.parts.items()) <= set(after.text.parts.items())
    assert "train" not in after.text.needs
    # What is checked of a text: its last window, and what its files should hold, those with held-out text less.
    assert before.text.joined_needs("first-1") == [(128, 128)]
    assert [before.text.joined_tokens(text) for text in ("first-1", "first-2")] == [17_460, 35_460]


@pytest.mark.parametrize("overlays", [["paper"], ["paper", "paper-meta"]], ids=" over ".join)
def test_the_first_files_of_the_papers_text_hold_the_held_out_windows_with_some_to_spare(overlays: list[str]) -> None:
    study = Study(load_config(study_files(overlays, REPOSITORY / "config")).model_dump(mode="json"))
    source, splits = study.config.corpus.numbered_source, study.config.corpus.splits
    assert source is not None
    assert sum(len(study.text.parts[name].files) for name in study.text.held_out_parts) == source.held_out_files
    for name in HELD_OUT:
        needed = max(number * (length + 1) for number, length in study.text.windows_needed(name))
        assert getattr(splits, name).fraction * source.held_out_files * source.tokens_per_file > 1.8 * needed, name


def test_a_budget_that_meets_the_text_of_masks_is_refused(smoke: dict[str, Any]) -> None:
    values = in_parts(smoke)
    values["corpus"]["sources"]["pages"]["tokens_per_file"] = 5_000
    values["corpus"]["splits"] = {name: {"fraction": 0.01} for name in HELD_OUT}
    values["matrix"] = [{"methods": ["minitron_depth"], "ratios": [0.5], "retrain": [12288]}]
    assert list(Study(values).text.parts) == [f"part-0000{number}" for number in range(6)]
    values["matrix"].append({"methods": ["sheared_llama"], "ratios": [0.5], "retrain": [12288]})
    values["pruning"]["sheared_llama"] = {"tokens": 1024, "global_batch_size": 2, "micro_batch_size": 1}
    with pytest.raises(UserError, match=r"which is 7 files of 5k each, but corpus\.sources names 6"):
        Study(values)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    write_pages(tmp_path / "root" / NAME)
    with hub_server(tmp_path / "root", {NAME: REVISION}) as server:
        yield server


def acquire(hub: HubServer, tmp_path: Path, *names: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "workflow/scripts/acquire_part.py", "--dataset", NAME, "--files", *names]
    options = {"revision": REVISION, "out": str(tmp_path / "out"), "manifest": str(tmp_path / "out.manifest.json")}
    command += [f"--{name}={value}" for name, value in (options | changes).items()]
    environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_part_is_fetched_by_name_and_checked(hub: HubServer, tmp_path: Path) -> None:
    partial = tmp_path / "out.partial" / f"{NAMES[1]}.partial"
    partial.parent.mkdir(parents=True)
    content = (hub.root / NAME / NAMES[1]).read_bytes()
    partial.write_bytes(content[:100])
    result = acquire(hub, tmp_path, *NAMES[:2])
    assert result.returncode == 0, result.stderr
    assert hub.ranges == {NAMES[0]: [0], NAMES[1]: [100]}
    assert (tmp_path / "out" / NAMES[1]).read_bytes() == content
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert set(manifest["outputs"]["part"]["files"]) == set(NAMES[:2])
    assert not (tmp_path / "out.partial").exists()


def test_a_part_that_is_not_available_says_why(hub: HubServer, tmp_path: Path) -> None:
    for names, changes, text in (
        (["group_1/part_09.jsonl.zst"], {}, "has no file group_1/part_09.jsonl.zst"),
        (NAMES[:1], {"revision": "b" * 40}, f"has no revision {'b' * 40}"),
    ):
        result = acquire(hub, tmp_path, *names, **changes)
        assert (result.returncode, "Traceback" in result.stderr) == (1, False), result.stderr
        assert text in result.stderr
    hub.corrupted.add(NAMES[0])
    result = acquire(hub, tmp_path, NAMES[0])
    assert "is not the pinned file" in result.stderr
    assert not (tmp_path / "out").exists()
