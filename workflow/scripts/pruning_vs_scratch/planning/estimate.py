"""What each job reads, computes and takes: exact tokens and operations, and seconds from the throughput table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pruning_vs_scratch.cluster.demand import busy_minutes
from pruning_vs_scratch.cluster.speed import speed_seconds
from pruning_vs_scratch.planning.jobs import Job
from pruning_vs_scratch.planning.throughput import PROCESSOR, Rate, ThroughputTable, Work
from pruning_vs_scratch.progress import START_SECONDS
from pruning_vs_scratch.study.costs import Costs, planned_costs, scoring_flops
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.study import Study
from pruning_vs_scratch.time_left import OTHER_SECONDS


@dataclass(frozen=True)
class Load:
    """The work of one job. Work that several runs share counts only in the job that does it."""

    tokens: int = 0
    flops: int = 0
    seconds: float = OTHER_SECONDS
    gpus: int = 0
    """Held for the whole time."""
    cores: int = 1
    """CPU cores that it keeps busy; not counted with GPUs."""

    @property
    def gpu_hours(self) -> float:
        """GPUs times hours."""
        return self.gpus * self.seconds / 3600

    @property
    def core_hours(self) -> float:
        """Cores times hours, of jobs without a GPU."""
        return 0.0 if self.gpus else self.cores * self.seconds / 3600


class Estimator:
    """Loads of the jobs of a study on one kind of device."""

    def __init__(self, study: Study, throughput: ThroughputTable, device: str) -> None:
        self.study = study
        self.throughput = throughput
        self.device = device
        self.precision = throughput.precision(device, study.config.training.precision)
        self.used: dict[Rate, None] = {}
        """Rates on which a load is based."""

    @cached_property
    def costs(self) -> dict[str, Costs]:
        """The entry of every run in the ledger, by name."""
        return {costs.run: costs for costs in planned_costs(self.study)}

    def load(self, job: Job) -> Load:
        """The work of a job.

        Raises:
            UserError: the throughput table has no rate for it.
        """
        by_rule: dict[str, Callable[[str], Load]] = {
            "extract_documents": lambda _: self._text("extract", self.study.text.corpora),
            "train_tokenizer": lambda _: self._train_tokenizer(),
            "tokenize_corpus": lambda corpus: self._text("tokenize", [corpus]),
            "tokenize_part": self._tokenize_part,
            "divide_part": self._divide_part,
            "gather_held_out": lambda _: self._text("extract", self.study.text.extracted_corpora),
            "score": self._score,
            "prune": self._prune,
            "prune_candidate": self._prune,
            "train": self._train,
            "train_trunk": self._train,
            "train_trial": self._train,
            "evaluate": lambda group: self._evaluate(self.study.evaluation_groups[group]),
            "measure_speed": lambda _: self._measure_speed(),
        }
        found: Load = by_rule.get(job.rule, lambda _: Load())(job.subject)
        return found

    def _text(self, work: Work, corpora: list[str]) -> Load:
        tokens = sum(tokens_of(self.study, corpus) for corpus in corpora)
        rate = self._rate(PROCESSOR, None, work)
        # Text is read three times; its tokens exist only after the last.
        return Load(tokens if work == "tokenize" else 0, seconds=OTHER_SECONDS + tokens / rate.rate)

    def _train_tokenizer(self) -> Load:
        if not self.study.text.parts:
            return self._text("train_tokenizer", ["train"])
        tokens = self._tokens_of_part(next(iter(self.study.text.parts)))
        return Load(seconds=OTHER_SECONDS + tokens / self._rate(PROCESSOR, None, "train_tokenizer").rate)

    def _tokenize_part(self, name: str) -> Load:
        """Reading a part, comparing it with held-out text, and tokenising the rest, one after the other."""
        tokens = self._tokens_of_part(name)
        rates = [self._rate(PROCESSOR, None, work).rate for work in ("extract", "tokenize")]
        return Load(tokens, seconds=OTHER_SECONDS + sum(tokens / rate for rate in rates))

    def _divide_part(self, name: str) -> Load:
        rate = self._rate(PROCESSOR, None, "extract")
        return Load(seconds=OTHER_SECONDS + self._tokens_of_part(name) / rate.rate)

    def _tokens_of_part(self, name: str) -> int:
        """A part's share of the tokens that are needed; the shares add up to all of them."""
        needed, parts = tokens_of(self.study, "train"), list(self.study.text.parts)
        count, place = len(parts), parts.index(name)
        return (place + 1) * needed // count - place * needed // count

    def _train(self, name: str) -> Load:
        costs, shape = self.costs[name], self.study.run(name).target.shape
        return self._computed(costs.tokens, costs.own_flops, "train", shape, self.study.processes.training(name))

    def _score(self, subject: str) -> Load:
        start, method = subject.split(" ")
        tokens = self.study.pruning_plan(self.study.scorings[start, method][0]).tokens
        return self._computed(tokens, scoring_flops(self.study, start, method), "forward", self._shape(start), 1)

    def _prune(self, name: str) -> Load:
        plan, costs, shape = self.study.pruning_plan(name), self.costs[name], self._shape(self.study.run(name).start)
        if self.study.is_scored_once(name):
            return self._computed(0, 0, "forward", shape, 1)
        work: Work = "train" if plan.training else "forward"
        return self._computed(costs.tokens, costs.own_flops, work, shape, self.study.processes.pruning(name))

    def _evaluate(self, runs: list[str]) -> Load:
        perplexity = self.study.config.evaluation.perplexity
        windows, length = sum(perplexity.corpora.values()), perplexity.sequence_length
        load = self._minutes(len(runs), self.study.config.evaluation.processes)
        flops = sum(self._shape(run).forward_flops(windows, length) for run in runs)
        return Load(len(runs) * windows * length, flops, load.seconds, load.gpus, load.cores)

    def _measure_speed(self) -> Load:
        seconds = START_SECONDS + speed_seconds(self.study)
        return Load(seconds=seconds, gpus=self._gpus(1), cores=self._cores(1))

    def _minutes(self, checkpoints: int, processes: int) -> Load:
        """The study sets how long evaluation takes, because tasks are counted in items, not tokens."""
        seconds = START_SECONDS + 60 * self.study.config.cluster.evaluation_minutes * checkpoints
        return Load(seconds=seconds, gpus=self._gpus(processes), cores=self._cores(processes))

    def _computed(self, tokens: int, flops: int, work: Work, shape: ModelShape, processes: int) -> Load:
        gpus, cores = self._gpus(processes), self._cores(processes)
        rate = self._rate(self.device, self.precision, work, shape.params_total)
        minutes = busy_minutes(flops, rate.rate * (gpus or cores), shape)
        return Load(tokens, flops, START_SECONDS + 60 * minutes, gpus, cores)

    def _rate(self, device: str, precision: str | None, work: Work, params: int = 0) -> Rate:
        rate = self.throughput.find(device, precision, work, params)
        self.used[rate] = None
        return rate

    def _gpus(self, processes: int) -> int:
        return 0 if self.device == PROCESSOR else processes

    def _cores(self, processes: int) -> int:
        return self.study.config.training.threads * processes

    def _shape(self, run: str | None) -> ModelShape:
        return self.study.run(str(run)).target.shape


def tokens_of(study: Study, corpus: str) -> int:
    """Tokens that a study needs from a corpus; a larger one is still read and tokenised whole."""
    return max((number * (length + 1) for number, length in study.text.windows_needed(corpus)), default=0)
