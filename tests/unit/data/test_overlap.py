"""Held-out text shares no run of words with training text, and loses nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_vs_scratch.data.documents import Document
from pruning_vs_scratch.data.overlap import BLANK_LINES, RunHasher, drop_shared, normalised_words, shared_runs

WORDS = st.sampled_from(["a", "b", "c", "It's", "d,"])
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", " ", " ", "\n", "\n  ", "\n\n", "\n \n\n"])), max_size=40).map(
    lambda pairs: "".join(word + gap for word, gap in pairs).strip()
)


def runs(words: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


@settings(max_examples=300)
@given(st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3), st.integers(2, 5))
def test_kept_text_shares_no_run_with_training_text(training: list[str], held_out: list[str], n: int) -> None:
    train = [Document(str(i), text) for i, text in enumerate(training)]
    held = [Document(str(i), text) for i, text in enumerate(held_out)]
    hasher = RunHasher(n)
    kept, report = drop_shared(held, shared_runs(held, train, hasher), hasher)
    known = set().union(*(runs(normalised_words(text), n) for text in training))
    blocks = [normalised_words(block) for document in kept for block in BLANK_LINES.split(document.text)]
    assert not any(runs(block, n) & known for block in blocks)
    # Nothing is lost without a reason: every block that holds no known run is still there.
    clean = [b for text in held_out for block in BLANK_LINES.split(text) if (b := normalised_words(block))]
    clean = [block for block in clean if not runs(block, n) & known]
    assert all(block in blocks for block in clean)
    assert report.words - report.words_dropped == sum(map(len, blocks))


def test_short_lines_are_kept_and_layout_stays() -> None:
    held = Document("held", "FIRST WITCH.\n\n\nAll of this is in the training text\n  but this is new\n\n[Exeunt.]")
    train = Document("train", "FIRST WITCH.\n\n[Exeunt.]\n\nand all of this, IS in the training text too")
    hasher = RunHasher(8)
    kept, report = drop_shared([held], shared_runs([held], [train], hasher), hasher)
    assert kept[0].text == "FIRST WITCH.\n\n\n  but this is new\n\n[Exeunt.]"
    assert (report.paragraphs, report.paragraphs_dropped, report.words_dropped) == (4, 1, 8)


def test_text_without_overlap_is_untouched() -> None:
    held = Document("held", "one two\n \n\n  three four\n  five\n\n\nsix")
    hasher = RunHasher(2)
    kept, _ = drop_shared([held], shared_runs([held], [], hasher), hasher)
    assert kept == [held]
