"""Text that a study reads: its corpora, and its training text, whole or in parts. No torch here."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.data.reading import Reading
from pruning_vs_scratch.study.evaluation import corpus_requests
from pruning_vs_scratch.study.expand import corpora_of
from pruning_vs_scratch.study.parts import Part, PartedSource, PartedText
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.study.plan import TrainingPlan


class StudyText:
    """Corpora of a study, and how much of each its runs read.

    Args:
        config: the study's configuration.
        paths: the study's files.
        reading: how the training text is divided, and how often it is read.
        plans: by run, trunk, trial or candidate, the plan by which it reads training text.

    Raises:
        UserError: the source of a training text in parts is too small.
    """

    def __init__(self, config: StudyConfig, paths: Paths, reading: Reading, plans: Mapping[str, TrainingPlan]) -> None:
        self._config = config
        self._paths = paths
        self._reading = reading
        self._plans = plans
        source = config.corpus.numbered_source
        self._parted = None if source is None else PartedSource(source, config.corpus.splits)
        self._texts: dict[str, PartedText] = {} if self._parted is None else self._needed_texts(self._parted)
        """By run, only the parts that it reads, so that it does not depend on the text of a larger budget."""
        self.parts: dict[str, Part] = {} if self._parted is None else self._parted.parts(self._texts.values())
        """Parts of the training text that the budgets need, by name; empty if one process reads all of it."""

    @property
    def corpora(self) -> list[str]:
        """Every tokenised corpus."""
        return list(corpora_of(self._config))

    @property
    def extracted_corpora(self) -> list[str]:
        """Corpora with a file of documents: all but a training text that is tokenised in parts."""
        return [corpus for corpus in self.corpora if not (self.parts and corpus == "train")]

    def domains_of(self, corpus: str) -> list[tuple[str, list[str]]]:
        """Domains and their patterns on document names, in order, for the corpora by which masks are learned."""
        if corpus not in ("train", "validation"):
            return []
        return [(name, domain.include) for name, domain in self._config.corpus.domains.items()]

    def windows_needed(self, corpus: str) -> list[tuple[int, int]]:
        """Number and length of the windows that the study reads of a corpus."""
        training, evaluation = self._config.training, self._config.evaluation.perplexity
        requests, needs = corpus_requests(self._config), []
        if corpus == "train":
            needs.append((self._reading.windows_needed(self.training_sequences), training.sequence_length))
        if corpus == "calibration":
            calibration = self._config.pruning.calibration
            needs.append((calibration.sequences, calibration.sequence_length))
        if corpus == "validation":
            needs.append((training.validation.sequences, training.sequence_length))
        if corpus in requests and (evaluation.stride is None or requests[corpus].mode == "authors"):
            needs.append((requests[corpus].windows, evaluation.sequence_length))
        return needs

    @property
    def training_sequences(self) -> int:
        """Sequences of training text that the study reads: those of its longest run, and those that masks learn on."""
        plans = self._plans.values()
        longest = max((plan.window_end for plan in plans if plan.phase != "prune"), default=0)
        return longest + max((plan.window_end for plan in plans if plan.phase == "prune"), default=0)

    @property
    def needs(self) -> dict[str, list[tuple[int, int]]]:
        """Number and length of the sequences that the study reads of every corpus but a training text in parts.

        Each joined text of such a training text is checked separately.
        """
        needs = {corpus: self.windows_needed(corpus) for corpus in self.extracted_corpora}
        if "train" in needs:
            needs["train"] = [(self.training_sequences, self._config.training.sequence_length)]
        return needs

    @property
    def longest_sequence(self) -> int:
        """Tokens that any step of the study runs through a model at once."""
        return max(self._config.training.sequence_length, self._config.pruning.calibration.sequence_length)

    def of_run(self, name: str) -> Path:
        """The tokens that a run is trained on, or that its masks are learned on."""
        return self._paths.joined_text(self._texts[name].name) if self.parts else self._paths.tokens / "train"

    @property
    def acquired_parts(self) -> dict[str, Path]:
        """Where the files of each part are once they are fetched."""
        source = self._config.corpus.numbered_source
        return {name: self._paths.frozen(source.key) / name for name in self.parts} if source is not None else {}

    @property
    def first_part(self) -> Path:
        """Path of the part that a tokenizer is trained on; a larger budget does not change it."""
        return next(iter(self.acquired_parts.values()))

    @property
    def held_out_parts(self) -> list[str]:
        """Parts with held-out documents."""
        return self._parted.held_out if self._parted is not None else []

    @cached_property
    def joined(self) -> dict[str, list[str]]:
        """Parts by the name of the text that is joined from them."""
        parted = self._parted
        return {} if parted is None else {text.name: parted.names(text) for text in dict.fromkeys(self._texts.values())}

    def joined_needs(self, text: str) -> list[tuple[int, int]]:
        """Number and length of the sequences that runs read of a joined text."""
        runs = [name for name, needed in self._texts.items() if needed.name == text]
        if self._reading.passes > 1:  # all read the same text, masks from its end on
            return [(self.training_sequences, self._config.training.sequence_length)]
        return [(max(self._plans[name].window_end for name in runs), self._config.training.sequence_length)]

    def joined_tokens(self, text: str) -> int:
        """Tokens of a joined text, estimated by the source's ``tokens_per_file``."""
        assert self._parted is not None
        return self._parted.tokens(next(needed for needed in self._texts.values() if needed.name == text))

    def _needed_texts(self, parted: PartedSource) -> dict[str, PartedText]:
        """By run, its training text. Masks are learned on the last parts; text that is read in passes is read whole."""
        if self._reading.passes > 1:
            return dict.fromkeys(self._plans, PartedText(parted.count))
        ends: dict[str, tuple[int, int]] = {}
        for name, plan in self._plans.items():
            learns, width = plan.phase == "prune", plan.sequence_length + 1
            first, last = (plan.window_start, plan.sequences) if learns else (plan.window_end, 0)
            ends[name] = first * width, last * width
        # Together they may need more files than exist, even if each alone does not.
        parted.text(*map(max, zip(*ends.values(), strict=True)))
        return {name: parted.text(first, last) for name, (first, last) in ends.items()}
