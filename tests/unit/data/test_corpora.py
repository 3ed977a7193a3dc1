"""Documents are divided into corpora, which are protected from each other; the same each time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from corpus_parts import folder_source, glob_splits
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.corpus import CorpusConfig, DocumentSet, EvaluationSet, PathSource
from pruning_vs_scratch.data.corpora import extract_corpora
from pruning_vs_scratch.data.documents import read_documents
from pruning_vs_scratch.errors import UserError


@pytest.fixture
def corpus(tmp_path: Path) -> CorpusConfig:
    folder = tmp_path / "source"
    folder.mkdir()
    common = "these eight words stand in the training text"
    texts = {
        "t1": f"Some training text. {common}",
        "calibration": "Pruning reads these words and nothing else, never the test.",
        "validation": f"Validation text of its own.\n\n{common}",
        "test": "Test text of its own.\n\nPruning reads these words and nothing else, never the test.",
        "other": "Another corpus.",
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return CorpusConfig(
        sources={"s": folder_source(folder)},
        train=[DocumentSet(source="s", exclude=["other.txt"])],
        splits=glob_splits(),
        evaluation={"elsewhere": EvaluationSet(source="s", include=["other.txt"])},
    )


def test_corpora_are_divided_and_protected(corpus: CorpusConfig, tmp_path: Path) -> None:
    facts = extract_corpora(corpus, {}, tmp_path / "out")
    texts = {name: [d.text for d in read_documents(tmp_path / "out" / f"{name}.jsonl")] for name in facts}
    assert texts["validation"] == ["Validation text of its own."]
    assert texts["test"] == ["Test text of its own."]
    assert texts["elsewhere"] == ["Another corpus."]
    assert [len(texts[name]) for name in ("train", "calibration")] == [1, 1]
    assert {name: f["words_dropped"] for name, f in facts.items() if name != "train"} == {
        "calibration": 0,
        "validation": 8,
        "test": 10,
        "elsewhere": 0,
    }


def test_training_text_of_several_sources_is_divided_as_one(corpus: CorpusConfig, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "t2.txt").write_text("Text of its own.\n\nValidation text of its own.")
    sources = corpus.sources | {"more": folder_source(tmp_path / "more")}
    changed = corpus.model_copy(update={"sources": sources, "train": [*corpus.train, DocumentSet(source="more")]})
    changed = changed.model_copy(update={"overlap_words": 5})
    with pytest.raises(UserError, match="nothing is left of the corpus validation"):
        extract_corpora(changed, {}, tmp_path / "out")
    (tmp_path / "source" / "validation.txt").write_text("Other validation text of its own, and more beside.")
    facts = extract_corpora(changed.model_copy(update={"overlap_words": 8}), {}, tmp_path / "out")
    assert facts["train"]["documents"] == 2
    assert [d.id for d in read_documents(tmp_path / "out" / "train.jsonl")] == ["t1.txt", "t2.txt"]


def test_text_that_is_read_as_the_authors_do_stays_as_it_is(corpus: CorpusConfig, tmp_path: Path) -> None:
    (tmp_path / "source" / "other.txt").write_text("these eight words stand in the training text")
    as_authors = EvaluationSet(source="s", include=["other.txt"], mode="authors")
    changed = corpus.model_copy(update={"evaluation": {"elsewhere": as_authors}})
    facts = extract_corpora(changed, {}, tmp_path / "out")
    [document] = read_documents(tmp_path / "out" / "elsewhere.jsonl")
    assert document.text == "these eight words stand in the training text"
    assert facts["elsewhere"] == {"documents": 1, "characters": len(document.text)}
    assert facts["test"]["words_dropped"] == 10


def test_extraction_is_reproducible(corpus: CorpusConfig, tmp_path: Path) -> None:
    for name in ("a", "b"):
        extract_corpora(corpus, {}, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_corpus_that_overlaps_entirely_is_refused(corpus: CorpusConfig, tmp_path: Path) -> None:
    (tmp_path / "source" / "other.txt").write_text("these eight words stand in the training text")
    with pytest.raises(UserError, match="nothing is left of the corpus elsewhere"):
        extract_corpora(corpus, {}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_is_checked_again_before_it_is_opened(corpus: CorpusConfig, tmp_path: Path) -> None:
    archive = tmp_path / "a-1.tar.gz"
    archive.write_bytes(b"changed since")
    source = {"kind": "pypi", "project": "a", "version": "1", "file": archive.name, "sha256": "0" * 64}
    changed = CorpusConfig.model_validate(json.loads(corpus.model_dump_json()) | {"sources": {"s": source}})
    with pytest.raises(UserError, match="expected sha256 0000"):
        extract_corpora(changed, {"s": archive}, tmp_path / "out")
    with pytest.raises(UserError, match="--fetched s=PATH"):
        extract_corpora(changed, {}, tmp_path / "out")


@pytest.mark.slow
def test_the_entry_point_records_no_absolute_path(corpus: CorpusConfig, tmp_path: Path) -> None:
    manifest = tmp_path / "extract.json"
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/extract_documents.py"), "--corpus"]
    command += [corpus.model_dump_json(), "--out", str(tmp_path / "out"), "--manifest", str(manifest)]
    subprocess.run(command, check=True, capture_output=True)
    text = manifest.read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["facts"]["corpora"]["test"]["words_dropped"] == 10


@pytest.mark.slow
def test_a_stray_file_changes_no_hash_of_what_was_read(corpus: CorpusConfig, tmp_path: Path) -> None:
    folder = Path(next(source.path for source in corpus.sources.values() if isinstance(source, PathSource)))

    def inputs() -> dict[str, str]:
        command = [sys.executable, str(REPOSITORY / "workflow/scripts/extract_documents.py"), "--corpus"]
        command += [corpus.model_dump_json(), "--out", str(tmp_path / "out"), "--manifest", str(tmp_path / "m.json")]
        subprocess.run(command, check=True, capture_output=True)
        return dict(json.loads((tmp_path / "m.json").read_text())["inputs"])

    before = inputs()
    (folder / ".DS_Store").write_bytes(b"x")
    assert inputs() == before
    changed = sorted(folder.rglob("*.txt"))[0]
    changed.write_text(changed.read_text() + " and more")
    assert inputs() != before
