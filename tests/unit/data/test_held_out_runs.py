"""Training text loses the paragraphs that share words in a row with held-out text, and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_vs_scratch.data.documents import Document
from pruning_vs_scratch.data.held_out_runs import Dropped, HeldOutRuns, without_held_out
from pruning_vs_scratch.data.overlap import RunHasher, held_out_runs
from pruning_vs_scratch.errors import UserError

N = 4
Run = tuple[str, ...]


def runs_of(words: list[str]) -> list[Run]:
    return [tuple(words[i : i + N]) for i in range(len(words) - N + 1)]


def blocks_of(text: str) -> list[list[str]]:
    """Paragraphs by block, line by line: a blank line ends a block, and an indented one starts a paragraph."""
    blocks: list[list[str]] = [[]]
    for line in text.split("\n"):
        if not line.strip():
            blocks.append([])
        elif line.startswith(" ") or not blocks[-1]:
            blocks[-1].append(line)
        else:
            blocks[-1][-1] += "\n" + line
    return [block for block in blocks if block]


def words_of(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


def held_out_by_force(held_out: list[str]) -> set[Run]:
    return {run for text in held_out for block in blocks_of(text) for run in runs_of(words_of(" ".join(block)))}


def kept_by_force(text: str, held_out: set[Run]) -> list[str]:
    """The paragraphs that stay: drop all that take part in a shared run of the document, until there is none."""
    kept = [paragraph for block in blocks_of(text) for paragraph in block]
    while True:
        words = [(word, number) for number, paragraph in enumerate(kept) for word in words_of(paragraph)]
        gone = set()
        for i in range(len(words) - N + 1):
            if tuple(word for word, _ in words[i : i + N]) in held_out:
                gone |= {number for _, number in words[i : i + N]}
        if not gone:
            return kept
        kept = [paragraph for number, paragraph in enumerate(kept) if number not in gone]


words = st.sampled_from(["a", "b", "B", "c"])
paragraphs = st.lists(words, min_size=1, max_size=7).map(" ".join)
texts = st.lists(st.tuples(st.sampled_from(["\n\n", "\n \n", "\n", "\n  "]), paragraphs), min_size=1, max_size=6).map(
    lambda pieces: "".join(separator + text for separator, text in pieces).strip()
)


def cleaned(training: list[str], held_out: list[str]) -> tuple[list[Document], Dropped]:
    runs = held_out_runs((Document("h", text) for text in held_out), RunHasher(N))
    dropped = Dropped()
    documents = (Document(str(number), text) for number, text in enumerate(training))
    return list(without_held_out(documents, HeldOutRuns(runs, N), dropped)), dropped


@given(st.lists(texts, max_size=3), st.lists(texts, min_size=1, max_size=3))
def test_what_stays_is_what_a_search_for_shared_runs_leaves(held_out: list[str], training: list[str]) -> None:
    forbidden = held_out_by_force(held_out)
    found, dropped = cleaned(training, held_out)
    expected = {str(i): kept_by_force(text, forbidden) for i, text in enumerate(training)}
    assert {d.id: [p for block in blocks_of(d.text) for p in block] for d in found} == {
        name: kept for name, kept in expected.items() if kept
    }
    for document in found:
        assert not forbidden & set(runs_of(words_of(document.text)))
        if not dropped.paragraphs:
            assert document.text == training[int(document.id)]
    before = sum(len(block) for text in training for block in blocks_of(text))
    assert dropped.paragraphs == before - sum(map(len, expected.values()))
    assert dropped.documents == sum(not kept for kept in expected.values())
    assert dropped.characters == sum(map(len, training)) - sum(len(document.text) for document in found)


def test_a_shared_run_over_a_blank_line_counts_in_training_text_alone() -> None:
    assert cleaned(["w x\n\ny z\n\nother words"], ["w x y z"])[0] == [Document("0", "other words")]
    assert cleaned(["w x y z"], ["w x\n\ny z"])[0] == [Document("0", "w x y z")]


def test_neighbours_of_a_dropped_paragraph_make_no_shared_run() -> None:
    found, dropped = cleaned(["w x\n\na b c d\n\ny z\n\nlast"], ["a b c d", "w x y z"])
    assert found == [Document("0", "last")]
    assert (dropped.paragraphs, dropped.documents) == (3, 0)


hashes = st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1]), max_size=50)


@given(hashes, hashes)
def test_a_run_is_found_if_it_exists(held_out: list[int], others: list[int]) -> None:
    runs = HeldOutRuns(np.unique(np.array(held_out, dtype=np.uint64)), N)
    asked = [*held_out, *others]
    assert runs.hold(np.array(asked, dtype=np.uint64)).tolist() == [run in held_out for run in asked]


def test_runs_are_stored_with_their_length(tmp_path: Path) -> None:
    made = np.array([3, 5, 2**64 - 1], dtype=np.uint64)
    HeldOutRuns(made, 7).save(tmp_path / "runs.safetensors")
    read = HeldOutRuns.load(tmp_path / "runs.safetensors")
    assert (read.n, len(read)) == (7, 3)
    assert read.hold(np.array([3, 4, 2**64 - 1], dtype=np.uint64)).tolist() == [True, False, True]


@pytest.mark.parametrize("content", [None, b"", b"not a tensor, whatever its name says"])
def test_damaged_runs_are_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "runs.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"runs\.safetensors is missing or damaged"):
        HeldOutRuns.load(file)
