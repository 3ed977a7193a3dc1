"""Multiple-choice items made from held-out plays by a seeded generator.

- continuation: the lines that come next, among lines of about the same length from elsewhere in the split;
- scramble: a line among reorderings of its words, with the first and the last word in place;
- last_word: the word that ends a line, among line-ending words of similar frequency and length.

Every item has CHOICES choices and one answer, so guessing scores 1 / CHOICES. The order of the documents does not
matter. Items of a task never share a target line.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from pruning_vs_scratch.config.evaluation import TaskKind
from pruning_vs_scratch.data.documents import Document
from pruning_vs_scratch.errors import UserError

CHOICES = 4
CONTEXT_LINES = 2
CONTINUATION_LINES = 2
NEAREST = 24
"""Distractors are drawn from this many nearest candidates."""
MIN_WORDS_IN_LINE = 4
MIN_WORDS_TO_SCRAMBLE = 6
MIN_LETTERS = 3

BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
STAGE_DIRECTION = re.compile(r"\[[^\]]*\]|\([A-Z][^)]*\.\)")
UPPER_CASE_START = re.compile(r"[^A-Za-z]*[A-Z]{2,}\b")
LAST_WORD = re.compile(r"^(.*\s)([a-z]+)[^A-Za-z]*$")

Item = dict[str, Any]


@dataclass(frozen=True)
class Passage:
    """The lines of one speech, without the speaker's name and stage directions."""

    id: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """A place in a speech that an item can ask about."""

    passage: str
    line: int
    context: str
    truth: str


def make_items(
    kind: TaskKind,
    documents: Iterable[Document],
    count: int,
    seed: int,
    fits: Callable[[str], bool] = lambda _text: True,
) -> list[Item]:
    """Make ``count`` items; an item has ``id``, ``context``, ``choices`` (CHOICES texts) and ``answer`` (an index).

    ``fits`` tells whether a model can read a context with a choice after it as a whole; items that do not fit are
    skipped.

    Raises:
        UserError: the documents yield fewer items.
    """
    ordered = sorted(documents, key=lambda document: document.id)
    passages = [passage for document in ordered for passage in passages_of(document)]
    rng = random.Random(f"{kind}:{seed}")
    made = GENERATORS[kind](passages, rng)
    questions = list(islice((item for item in made if all(map(fits, prompts_of(item)))), count))
    if len(questions) < count:
        raise UserError(
            f"the text yields {len(questions)} {kind} items, not {count}: ask for at most {len(questions)} "
            "(evaluation.tasks.local), or put more documents into the test split"
        )
    return _with_answers(questions, rng)


def prompts_of(item: Item) -> list[str]:
    """What a model reads for an item: its context followed by each choice."""
    return [f"{item['context']}\n{choice}" for choice in item["choices"]]


def passages_of(document: Document) -> Iterator[Passage]:
    """The speeches of a document that have a line of verse or prose.

    Names, headings and cast lists are recognised by capitals, stage directions by brackets.
    """
    for number, block in enumerate(BLANK_LINES.split(document.text)):
        lines = [" ".join(line.split()) for line in STAGE_DIRECTION.sub(" ", block).split("\n")]
        lines = [line for line in lines if line]
        if any(UPPER_CASE_START.match(line) for line in lines[1:]):
            continue  # a cast list, or a heading of several lines
        spoken = [line for line in lines if not UPPER_CASE_START.match(line) and "[" not in line and "]" not in line]
        if spoken:
            yield Passage(f"{document.id}:{number}", tuple(spoken))


def continuations(passages: list[Passage], rng: random.Random) -> Iterator[Item]:
    """Questions, in random order, for the lines that follow a context; distractors come from other speeches."""
    slots = [slot for passage in passages for slot in _continuation_slots(passage)]
    by_length = sorted(slots, key=lambda slot: (len(slot.truth), slot.truth, slot.line))
    places = {slot: place for place, slot in enumerate(by_length)}
    for slot in _shuffled(slots, rng):
        near = _around(by_length, places[slot])
        others = [other.truth for other in near if other.passage != slot.passage]
        yield from _question(slot, others, rng)


def scrambles(passages: list[Passage], rng: random.Random) -> Iterator[Item]:
    """Questions, in random order, for a line's original word order."""
    for slot in _shuffled(_line_slots(passages), rng):
        words = slot.truth.split()
        if len(words) >= MIN_WORDS_TO_SCRAMBLE:
            yield from _question(slot, _orders(words, rng), rng)


def last_words(passages: list[Passage], rng: random.Random) -> Iterator[Item]:
    """Questions, in random order, for the word that ends a line; words with a capital (names) are left out."""
    frequencies = Counter(word for passage in passages for line in passage.lines for word in _words(line))
    candidates = sorted({word for passage in passages for line in passage.lines if (word := _last_word(line))})
    for slot in _shuffled(_line_slots(passages), rng):
        word = _last_word(slot.truth)
        if word:
            start = slot.truth[: slot.truth.rindex(word)].rstrip()
            ending = replace(slot, context=f"{slot.context}\n{start}", truth=word)
            yield from _question(ending, _similar_words(word, candidates, frequencies), rng)


GENERATORS: dict[TaskKind, Callable[[list[Passage], random.Random], Iterator[Item]]] = {
    "continuation": continuations,
    "scramble": scrambles,
    "last_word": last_words,
}


def _shuffled(slots: list[Slot], rng: random.Random) -> list[Slot]:
    return rng.sample(slots, len(slots))


def _question(slot: Slot, distractors: Iterable[str], rng: random.Random) -> Iterator[Item]:
    """An item whose answer is still the first choice, or nothing when distinct distractors are too few."""
    distinct = {text.casefold(): text for text in distractors if text.casefold() != slot.truth.casefold()}
    if len(distinct) >= CHOICES - 1:
        choices = [slot.truth, *rng.sample(list(distinct.values()), CHOICES - 1)]
        yield {"id": f"{slot.passage}:{slot.line}", "context": slot.context, "choices": choices}


def _with_answers(questions: list[Item], rng: random.Random) -> list[Item]:
    """Move the answers to places that occur equally often, up to one."""
    places = [number % CHOICES for number in range(len(questions))]
    rng.shuffle(places)
    items = []
    for question, place in zip(questions, places, strict=True):
        truth, *others = question["choices"]
        items.append({**question, "choices": [*others[:place], truth, *others[place:]], "answer": place})
    return items


def _context(passage: Passage, number: int) -> str:
    return "\n".join(passage.lines[max(0, number - CONTEXT_LINES) : number])


def _line_slots(passages: list[Passage]) -> list[Slot]:
    """Every line that has a line before it."""
    return [
        Slot(passage.id, number, _context(passage, number), line)
        for passage in passages
        for number, line in enumerate(passage.lines)
        if number
    ]


def _continuation_slots(passage: Passage) -> Iterator[Slot]:
    """Contexts and continuations, cut from a speech without sharing a line."""
    step = CONTEXT_LINES + CONTINUATION_LINES
    for start in range(0, len(passage.lines) - step + 1, step):
        target = start + CONTEXT_LINES
        lines = passage.lines[target : target + CONTINUATION_LINES]
        if all(len(line.split()) >= MIN_WORDS_IN_LINE for line in lines):
            yield Slot(passage.id, target, _context(passage, target), "\n".join(lines))


def _around(ordered: list[Slot], place: int) -> list[Slot]:
    low = max(0, min(place - NEAREST // 2, len(ordered) - NEAREST - 1))
    return ordered[low : low + NEAREST + 1]


def _orders(words: list[str], rng: random.Random) -> list[str]:
    """Up to CHOICES - 1 wrong orders of a line, first and last word in place."""
    truth = " ".join(words)
    found: dict[str, None] = {}
    for _ in range(8 * CHOICES):
        order = " ".join([words[0], *rng.sample(words[1:-1], len(words) - 2), words[-1]])
        if order.casefold() != truth.casefold():
            found[order] = None
        if len(found) == CHOICES - 1:
            break
    return list(found)


def _last_word(line: str) -> str | None:
    """The last word of a line if it is in lower case and long enough."""
    match = LAST_WORD.match(line)
    if match is None or len(line.split()) < MIN_WORDS_IN_LINE or len(match[2]) < MIN_LETTERS:
        return None
    return match[2]


def _similar_words(word: str, candidates: list[str], frequencies: Counter[str]) -> list[str]:
    """The candidates nearest to a word in length and in the logarithm of its frequency."""

    def distance(other: str) -> float:
        ratio = (1 + frequencies[other]) / (1 + frequencies[word])
        return abs(math.log2(ratio)) + abs(len(other) - len(word))

    return sorted((other for other in candidates if other != word), key=lambda o: (distance(o), o))[:NEAREST]


def _words(line: str) -> list[str]:
    return re.findall(r"[a-z]+", line.casefold())
