"""A study: what the workflow and the tables ask about runs, plans and files. No torch here."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pruning_vs_scratch.config.checkpoint import PypiCheckpoint
from pruning_vs_scratch.config.corpus import HubFilesSource, HubSource, PathSource, PypiSource, Source
from pruning_vs_scratch.config.evaluation import BenchmarkName
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.config.pruning import USUAL_DEVICE_BUFFER_GIB, USUAL_PRECISION
from pruning_vs_scratch.config.pypi import PypiFile
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.data.benchmarks import PACKAGE
from pruning_vs_scratch.data.folders import files_read
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.files import canonical_json
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.study.candidate_runs import candidate_runs
from pruning_vs_scratch.study.checkpoints import Acquisition, parent_acquisition, tokenizer_acquisition
from pruning_vs_scratch.study.evaluation import (
    TaskRequest,
    benchmark_datasets,
    corpus_requests,
    packaged_benchmarks,
    task_requests,
)
from pruning_vs_scratch.study.expand import Expansion, corpora_of
from pruning_vs_scratch.study.parts import Part, PartedSource, PartedText
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.study.plan import SAVING, PruningPlan, TrainingPlan
from pruning_vs_scratch.study.possible_processes import possible_processes
from pruning_vs_scratch.study.processes import Filling, TimedStep
from pruning_vs_scratch.study.runs import Pair, Run
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.sweep import follows_sweep, rate_groups, rate_name, trials_of
from pruning_vs_scratch.study.targets import Target, width_shape
from pruning_vs_scratch.study.trunks import with_trunks


class Study:
    """The expansion of one configuration.

    Raises:
        UserError: the configuration is not valid (all problems are listed).
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.config: StudyConfig = parse_config(values)
        self.name = self.config.study
        self.paths = Paths(self.name)
        expansion = Expansion(self.config)
        self.reading = expansion.reading
        """How the training text is divided, and how often it is read."""
        self.runs: dict[str, Run] = expansion.runs
        self.trunks: dict[str, Run] = {}
        """What some of the runs share: in no pair, and in no table but the ledger."""
        if self.config.training.share_trunks:
            self.runs, self.trunks = with_trunks(self.runs)
        self.trials = {trial.run.name: trial for trial in trials_of(self.config, expansion)}
        """Of a sweep: in no table but the ledger and the sweep's own."""
        self.candidates = {candidate.run.name: candidate for candidate in candidate_runs(self.config, expansion)}
        """Of a shape search: in no table but the ledger and the search's own."""
        self.pairs: list[Pair] = expansion.pairs
        source = self.config.corpus.numbered_source
        self._parted = None if source is None else PartedSource(source, self.config.corpus.splits)
        self._texts: dict[str, PartedText] = {} if self._parted is None else self._needed_texts(self._parted)
        """By run, the parts that it reads: only those, so that the text of a larger budget is nothing to it."""
        self.parts: dict[str, Part] = {} if self._parted is None else self._parted.parts(self._texts.values())
        """Parts of the training text that the budgets need, by name; none where one process reads all of it."""

    def run(self, name: str) -> Run:
        """A run, trunk, trial or candidate by name.

        Raises:
            UserError: there is none; the nearest name is given.
        """
        if name not in self.recorded_runs:
            raise UserError(f"study {self.name} has no run {name!r}; {nearest(name, self.recorded_runs)}")
        return self.recorded_runs[name]

    @cached_property
    def recorded_runs(self) -> dict[str, Run]:
        """Runs, trunks, trials and candidates by name: all that has a manifest and a row in the ledger."""
        tried = {name: trial.run for name, trial in self.trials.items()}
        tried |= {run.name: run for candidate in self.candidates.values() for run in (candidate.pruned, candidate.run)}
        return self.runs | self.trunks | tried

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Targets by name, the parent's own shape included."""
        return {run.target.name: run.target for run in self.runs.values()}

    @cached_property
    def searched_targets(self) -> list[str]:
        """Names of the targets whose shape a search finds: their files are written by its choice."""
        return list(dict.fromkeys(candidate.target for candidate in self.candidates.values()))

    @cached_property
    def given_targets(self) -> dict[str, Target]:
        """Targets by name whose shape is known beforehand, those of a search's candidates included."""
        tried = {candidate.run.target.name: candidate.run.target for candidate in self.candidates.values()}
        return {name: target for name, target in self.targets.items() if name not in self.searched_targets} | tried

    @property
    def pruned_runs(self) -> list[str]:
        """Names of the runs that a pruning method makes."""
        return [run.name for run in self.runs.values() if run.role == "pruned"]

    @property
    def pruned_candidates(self) -> list[str]:
        """Names of the pruned models of a shape search, which go when they are retrained."""
        return [candidate.pruned.name for candidate in self.candidates.values()]

    @property
    def tried_runs(self) -> list[str]:
        """Names of the runs that are trained for their validation loss alone."""
        return [*self.trials, *self.candidates]

    @property
    def trained_runs(self) -> list[str]:
        """Names of the runs that the training loop makes."""
        return [run.name for run in self.runs.values() if run.plan is not None]

    @property
    def trained_by_plan(self) -> list[str]:
        """The same, and trunks, trials and candidates."""
        return [name for name, run in self.recorded_runs.items() if run.plan is not None]

    @property
    def corpora(self) -> list[str]:
        """Every tokenised corpus."""
        return list(corpora_of(self.config))

    @property
    def extracted_corpora(self) -> list[str]:
        """Corpora of which there is a file of documents: all but a training text that is tokenised in parts."""
        return [corpus for corpus in self.corpora if not (self.parts and corpus == "train")]

    @cached_property
    def used_sources(self) -> dict[str, Source]:
        """Sources that some corpus reads, by name."""
        corpus = self.config.corpus
        used = {documents.source for documents in (*corpus.train, *corpus.evaluation.values())}
        return {name: source for name, source in corpus.sources.items() if name in used}

    @cached_property
    def downloads(self) -> dict[str, PypiFile]:
        """Files of packages to fetch, by the name of their source, or of what else reads them."""
        found: dict[str, PypiFile] = {n: s for n, s in self.used_sources.items() if isinstance(s, PypiSource)}
        found |= {key: a.source for key, a in self.acquisitions.items() if isinstance(a.source, PypiCheckpoint)}
        found |= {PACKAGE.project: PACKAGE} if self.packaged_benchmarks else {}
        fields = set(PypiFile.model_fields)
        return {name: PypiFile(**source.model_dump(include=fields)) for name, source in found.items()}

    @cached_property
    def acquisitions(self) -> dict[str, Acquisition]:
        """Checkpoints that others trained, or their tokenizers alone, by their keys."""
        wanted = (parent_acquisition(self.config), tokenizer_acquisition(self.config))
        return {acquisition.key: acquisition for acquisition in wanted if acquisition is not None}

    def acquisition_inputs(self, key: str) -> list[Path]:
        """Files that a checkpoint is taken from, where they are on this machine already or fetched by another rule."""
        from pruning_vs_scratch.parents.folder import local_files

        source = self.acquisitions[key].source
        if isinstance(source, PypiCheckpoint):
            return [self.paths.download(source.file)]
        return local_files(source, self.acquisitions[key].content) if source.kind == "path" else []

    def acquisition_options(self, key: str) -> list[str]:
        """Options of acquire_checkpoint.py beyond what is written."""
        acquisition = self.acquisitions[key]
        options = [f"--source={acquisition.source.model_dump_json()}", f"--content={acquisition.content}"]
        package = isinstance(acquisition.source, PypiCheckpoint)
        return [*options, *([f"--package={self.acquisition_inputs(key)[0]}"] if package else [])]

    @property
    def tokenizer_options(self) -> list[str]:
        """Options of take_tokenizer.py beyond its checkpoint and what is written."""
        own = self.parent_folder is None
        return [f"--vocab-size={self.config.tokenizer.vocab_size}", *(["--exactly"] if own else [])]

    @cached_property
    def adopted_parents(self) -> list[str]:
        """Names of the runs that are a published parent."""
        return [run.name for run in self.runs.values() if run.role == "parent" and run.plan is None]

    @property
    def parent_folder(self) -> Path | None:
        """Where a published parent lies once it is acquired; None for a parent that the study pretrains."""
        acquisition = parent_acquisition(self.config)
        return self.paths.checkpoint(acquisition.key) if acquisition else None

    @property
    def tokenizer_folder(self) -> Path | None:
        """Where the checkpoint lies whose tokenizer is taken; None for a tokenizer that the study trains."""
        acquisition = tokenizer_acquisition(self.config)
        return self.paths.checkpoint(acquisition.key) if acquisition else None

    @property
    def longest_sequence(self) -> int:
        """Tokens that any step of the study runs through a model at once."""
        return max(self.config.training.sequence_length, self.config.pruning.calibration.sequence_length)

    @cached_property
    def frozen(self) -> dict[str, HubDataset]:
        """Data sets of the hub to fetch, by their keys."""
        fields = set(HubDataset.model_fields)
        sources = [
            HubDataset(**s.model_dump(include=fields)) for s in self.used_sources.values() if isinstance(s, HubSource)
        ]
        return {dataset.key: dataset for dataset in (*sources, *benchmark_datasets(self.config))}

    @cached_property
    def fetched(self) -> dict[str, Path]:
        """Where sources that are not local lie once they are fetched: a file of a package, or a frozen folder."""
        return {
            name: self.paths.download(s.file) if isinstance(s, PypiSource) else self.paths.frozen(s.key)
            for name, s in self.used_sources.items()
            if isinstance(s, PypiSource | HubSource)
        }

    @cached_property
    def source_files(self) -> list[Path]:
        """All files that corpora are read from but for parts: what was fetched, and what is read of local folders.

        Raises:
            UserError: a folder cannot be listed, or a file of text in it has a name that is not UTF-8 or holds braces,
                which Snakemake takes for a wildcard.
        """
        corpus = self.config.corpus
        local = []
        for name, source in self.used_sources.items():
            if isinstance(source, PathSource):
                sets = [some for some in (*corpus.train, *corpus.evaluation.values()) if some.source == name]
                local += [Path(source.path, file) for file in files_read(source, sets)]
        for file in local:
            if {"{", "}"} & set(str(file)):
                raise UserError(f"{file}: Snakemake takes braces in a name for a wildcard: rename the file")
        return [*self.fetched.values(), *local]

    @property
    def numbered_source(self) -> HubFilesSource | None:
        """The source of the training text, if it is read in parts."""
        return self.config.corpus.numbered_source

    def _needed_texts(self, parted: PartedSource) -> dict[str, PartedText]:
        """By run, its training text. Masks are learned on the last parts; text that is read in passes is read whole."""
        if self.reading.passes > 1:
            return dict.fromkeys(self._plans_of_text, PartedText(parted.count))
        ends: dict[str, tuple[int, int]] = {}
        for name, plan in self._plans_of_text.items():
            learns, width = plan.phase == "prune", plan.sequence_length + 1
            first, last = (plan.window_start, plan.sequences) if learns else (plan.window_end, 0)
            ends[name] = first * width, last * width
        # All together may need more files than there are, where each alone does not.
        parted.text(*map(max, zip(*ends.values(), strict=True)))
        return {name: parted.text(first, last) for name, (first, last) in ends.items()}

    @cached_property
    def _plans_of_text(self) -> dict[str, TrainingPlan]:
        """By run, trunk, trial or candidate, the plan by which it reads training text."""
        plans = {name: run.plan or (run.pruning and run.pruning.training) for name, run in self.recorded_runs.items()}
        return {name: plan for name, plan in plans.items() if plan}

    @property
    def held_out_parts(self) -> list[str]:
        """Parts of whose documents some are held out."""
        return self._parted.held_out if self._parted is not None else []

    @cached_property
    def joined_texts(self) -> dict[str, list[str]]:
        """By the name of a text that is joined of parts, the parts."""
        parted = self._parted
        return {} if parted is None else {text.name: parted.names(text) for text in dict.fromkeys(self._texts.values())}

    def joined_needs(self, text: str) -> list[tuple[int, int]]:
        """How many sequences of which length runs read of a joined text."""
        runs = [name for name, needed in self._texts.items() if needed.name == text]
        if self.reading.passes > 1:  # all read the same text, masks from its end on
            return [(self.training_sequences, self.config.training.sequence_length)]
        return [(max(self._plans_of_text[name].window_end for name in runs), self.config.training.sequence_length)]

    def joined_tokens(self, text: str) -> int:
        """Tokens that a joined text holds by the source's ``tokens_per_file``."""
        assert self._parted is not None
        return self._parted.tokens(next(needed for needed in self._texts.values() if needed.name == text))

    def training_text(self, name: str) -> Path:
        """The tokens that a run is trained on, or that its masks are learned on."""
        return self.paths.joined_text(self._texts[name].name) if self.parts else self.paths.tokens / "train"

    @property
    def acquired_parts(self) -> dict[str, Path]:
        """Where the files of each part lie once they are fetched."""
        source = self.numbered_source
        return {name: self.paths.frozen(source.key) / name for name in self.parts} if source is not None else {}

    @property
    def first_part(self) -> Path:
        """Where the part lies that a tokenizer is trained on; a larger budget leaves it as it is."""
        return next(iter(self.acquired_parts.values()))

    @cached_property
    def packaged_benchmarks(self) -> list[BenchmarkName]:
        """Benchmarks whose items come out of a package."""
        return packaged_benchmarks(self.config)

    @cached_property
    def tasks(self) -> list[TaskRequest]:
        """What lm-eval scores on every checkpoint."""
        return task_requests(self.config, self.paths)

    @property
    def corpora_to_score(self) -> dict[str, dict[str, Any]]:
        """By corpus, which windows are scored on every checkpoint."""
        return {name: asdict(request) for name, request in corpus_requests(self.config).items()}

    @cached_property
    def measured_runs(self) -> dict[str, str]:
        """By target, the run whose speed is measured for all runs of its shape."""
        return {run.target.name: run.name for run in reversed(self.runs.values())}

    @cached_property
    def evaluation_groups(self) -> dict[str, list[str]]:
        """Checkpoints that one process evaluates, by the group's name."""
        groups: dict[str, list[str]] = {}
        for run in self.runs.values():
            by_target = f"{run.target.name}-seed{run.seed}"
            groups.setdefault(run.name if self.config.evaluation.group_by == "run" else by_target, []).append(run.name)
        return groups

    def starting_point(self, name: str) -> dict[str, Path]:
        """What a training run starts from, by option of train.py: a checkpoint or a target, a mask, and a trunk.

        A target is filled in by the configuration of a published parent, so that both sides share all but the weights.
        """
        run = self.run(name)
        if run.start is not None:
            start = {"model": self.paths.model(run.start)}
        elif run.redrawn is not None:
            option = "redraw-linears" if self.config.baselines.redraw == "linear" else "redraw-linears-and-head"
            start = {option: self.paths.model(run.redrawn)}
        elif run.rewound is not None:
            start = {"target": self.paths.target("parent"), "cut-like": self.paths.model(run.rewound)}
        else:
            start = {"target": self.paths.target(run.target.name)}
        if "target" in start and self.parent_folder is not None:
            start |= {"like": self.paths.model(self.parent_of(run).name)}
        if run.plan is not None and run.plan.distillation is not None:
            start |= {"teacher": self.paths.model(self.parent_of(run).name)}
        if self.rate_from_sweep(name) is not None:
            start |= {"learning-rates": self.paths.sweep}
        if run.trunk is not None:
            start |= {"state": self.paths.state(run.trunk), "state-metrics": self.paths.metrics(run.trunk)}
        return start | ({"mask": self.paths.model(run.mask)} if run.mask is not None else {})

    def rate_from_sweep(self, name: str) -> str | None:
        """Which learning rate of the sweep a run is trained at; None for that of its plan."""
        run, sweep = self.run(name), self.config.sweep
        if sweep is None or sweep.use == "none" or not follows_sweep(run):
            return None
        return rate_name(run, sweep.use)

    @property
    def swept_rates(self) -> dict[str, list[str]]:
        """Trials by which each learning rate of the sweep is chosen; none without a sweep."""
        return rate_groups(self.trials.values(), self.config.sweep.use) if self.config.sweep is not None else {}

    def training_options(self, name: str) -> list[str]:
        """Options of train.py beyond the plan, the text and what is written."""
        rate = self.rate_from_sweep(name)
        start = [f"--{option}={path}" for option, path in self.starting_point(name).items()]
        return [*start, *([f"--learning-rate-of={rate}"] if rate else [])]

    def parent_of(self, run: Run) -> Run:
        """The parent of a run's seed."""
        return next(parent for parent in self.runs.values() if parent.role == "parent" and parent.seed == run.seed)

    def pruning_steps(self, name: str) -> list[str]:
        """The pruned runs that led to a retrained run, the last step first."""
        steps = []
        run = self.run(name)
        while run.start is not None and self.runs[run.start].role == "pruned":
            run = self.runs[run.start]
            steps.append(run.name)
        return steps

    def pruning_plan(self, name: str) -> PruningPlan:
        """The plan of a pruned run."""
        plan = self.run(name).pruning
        assert plan is not None, f"{name} is not a pruned run"
        return plan

    def pruning_inputs(self, name: str) -> dict[str, Path]:
        """What a pruning step reads, by option of prune.py: text to learn from or scores, or neither."""
        run, plan = self.run(name), self.pruning_plan(name)
        if self.is_scored_once(name):
            return {"scores": self.paths.scores(str(run.start), plan.method)}
        if plan.training is not None:
            text = {"calibration": self.training_text(name)}
            return text | ({"validation": self.paths.tokens / "validation"} if self.config.corpus.domains else {})
        return {"calibration": self.paths.tokens / "calibration"} if plan.sequences else {}

    def is_scored_once(self, name: str) -> bool:
        """Whether a pruned run's choice is made by a file of scores that other ratios share."""
        method = self.pruning_plan(name).method
        return facts_of(method).scored_once(self.config.pruning.options(method))

    @cached_property
    def scorings(self) -> dict[tuple[str, str], list[str]]:
        """Pruned runs that share scores, by the run that is scored and the method."""
        shared: dict[tuple[str, str], list[str]] = {}
        for name in filter(self.is_scored_once, [*self.pruned_runs, *self.pruned_candidates]):
            shared.setdefault((str(self.run(name).start), self.pruning_plan(name).method), []).append(name)
        return shared

    def scoring_options(self, start: str, method: str) -> list[str]:
        """Options of score.py for a run and method: text, and the shapes that will be asked for."""
        plan = self.pruning_plan(self.scorings[start, method][0])
        shapes = [shape.to_dict() for shape in self.shapes_to_score(start, method)]
        return [*self._text_options(plan), f"--shapes={canonical_json(shapes)}"]

    def shapes_to_score(self, start: str, method: str) -> list[ModelShape]:
        """All shapes that the targets of a method's granularity make of a run, whatever the matrix asks for.

        None of a method whose scores serve any shape.
        """
        facts, shape, targets = facts_of(method), self.runs[start].target.shape, self.config.targets
        if not facts.needs_goals:
            return []
        if facts.granularity == "depth":
            layers = sorted({target.layers for target in targets.depth if target.layers < shape.layers})
            return [replace(shape, layers=number) for number in layers]
        own = [targets.width_of(method, target.ratio) for target in targets.width]
        shapes = [width_shape(self.config, method, shape, target) for target in own if target is not None]
        return list(dict.fromkeys(shapes))

    def training_processes(self, name: str) -> int:
        """Processes that train a run together."""
        given = self.config.training.processes_of(self.run(name).target.shape.params_total)
        return self._filling.processes[name] if given == "auto" else given

    @cached_property
    def _filling(self) -> Filling:
        """The choice of ``training.processes: auto`` for the runs of this study."""
        assert self.config.cluster.devices is not None, "the configuration asks for devices beside auto"
        return Filling([self._step(run) for run in self._in_order], self.config.cluster.devices)

    @property
    def _in_order(self) -> list[Run]:
        """All runs, trunks, trials and candidates, each behind those that it starts from."""
        order: dict[str, Run] = {}

        def visit(run: Run) -> None:
            for needed in self._starts(run):
                visit(self.run(needed))
            order.setdefault(run.name, run)

        for run in self.recorded_runs.values():
            visit(run)
        return list(order.values())

    def _starts(self, run: Run) -> list[str]:
        """Runs that have to be there before one can begin."""
        names = [run.start, run.mask, run.redrawn, run.rewound, run.trunk]
        if self.rate_from_sweep(run.name) is not None:
            names += self.trials
        if run.target.name in self.searched_targets:
            names += self.candidates
        return [name for name in dict.fromkeys(names) if name is not None and name != run.name]

    def _step(self, run: Run) -> TimedStep:
        """A run for the choice of processes: its seconds at the rates of ``cluster.teraflops``.

        Raises:
            UserError: a run fits into no number of devices that can share its batch.
        """
        rates, flops = self.config.cluster.teraflops, self.training_flops(run.name) / 1e12
        if run.plan is None:
            number = self.pruning_processes(run.name)
            return TimedStep(run.name, tuple(self._starts(run)), {number: flops / rates.prune / number})
        given = self.config.training.processes_of(run.target.shape.params_total)
        numbers = possible_processes(self.config, run) if given == "auto" else [given]
        return TimedStep(run.name, tuple(self._starts(run)), {n: flops / rates.train / n for n in numbers})

    def pruning_processes(self, name: str) -> int:
        """Processes that prune a run together: several where masks are learned."""
        run = self.run(name)
        learns = run.pruning is not None and run.pruning.training is not None
        return self.config.pruning.processes if learns else 1

    def pruning_options(self, name: str) -> list[str]:
        """Options of prune.py for a pruned run, beyond its model and target."""
        plan = self.pruning_plan(name)
        inputs = [f"--{option}={path}" for option, path in self.pruning_inputs(name).items()]
        learning = [f"--mask-learning={plan.training.without_saving}"] if plan.training else []
        proportions = {name: domain.proportion for name, domain in self.config.corpus.domains.items()}
        domains = [f"--domains={canonical_json(proportions)}"] if plan.training and proportions else []
        return [*self._text_options(plan), *inputs, *learning, *domains]

    @property
    def saving(self) -> str:
        """JSON: when training saves its state, which is no part of a run's plan here."""
        return self.config.training.model_dump_json(include=set(SAVING))

    @staticmethod
    def _text_options(plan: PruningPlan) -> list[str]:
        """The method and how it reads its text: nothing that a method without text could be run again for."""
        options = [f"--method={plan.method}", f"--options={canonical_json(plan.options)}", f"--seed={plan.seed}"]
        options.append(f"--threads={plan.threads}")
        if plan.tokens:
            options.append(f"--sequence-length={plan.sequence_length}")
        if plan.sequences:
            options += [f"--sequences={plan.sequences}", f"--batch-size={plan.batch_size}"]
            options.append(f"--host-buffer-gib={plan.host_buffer_gib:g}")
            # Only where they are not the usual ones: a new option would run finished steps again.
            if plan.device_buffer_gib != USUAL_DEVICE_BUFFER_GIB:
                options.append(f"--device-buffer-gib={plan.device_buffer_gib:g}")
            if plan.precision != USUAL_PRECISION:
                options.append(f"--precision={plan.precision}")
        return [*options, *(["--low-memory"] if plan.low_memory else [])]

    def windows_needed(self, corpus: str) -> list[tuple[int, int]]:
        """How many windows of which length the study reads of a corpus."""
        training, evaluation = self.config.training, self.config.evaluation.perplexity
        requests, needs = corpus_requests(self.config), []
        if corpus == "train":
            needs.append((self.reading.windows_needed(self.training_sequences), training.sequence_length))
        if corpus == "calibration":
            calibration = self.config.pruning.calibration
            needs.append((calibration.sequences, calibration.sequence_length))
        if corpus == "validation":
            needs.append((training.validation.sequences, training.sequence_length))
        if corpus in requests and (evaluation.stride is None or requests[corpus].mode == "authors"):
            needs.append((requests[corpus].windows, evaluation.sequence_length))
        return needs

    @property
    def training_sequences(self) -> int:
        """Sequences of training text that the study reads: those of its longest run, and those that masks learn on."""
        plans = self._plans_of_text.values()
        longest = max((plan.window_end for plan in plans if plan.phase != "prune"), default=0)
        return longest + max((plan.window_end for plan in plans if plan.phase == "prune"), default=0)

    @property
    def text_needs(self) -> dict[str, list[tuple[int, int]]]:
        """How many sequences of which length the study reads of every corpus but a training text in parts.

        Of such a text, each joined text is checked by itself.
        """
        needs = {corpus: self.windows_needed(corpus) for corpus in self.extracted_corpora}
        if "train" in needs:
            needs["train"] = [(self.training_sequences, self.config.training.sequence_length)]
        return needs

    def domains_of(self, corpus: str) -> list[tuple[str, list[str]]]:
        """Domains and their patterns on document names, in order, for the corpora by which masks are learned."""
        if corpus not in ("train", "validation"):
            return []
        return [(name, domain.include) for name, domain in self.config.corpus.domains.items()]

    def training_flops(self, name: str) -> int:
        """FLOPs of a run's training beyond its trunk, or of the training of its masks on its parent.

        Masked weights are included.
        """
        run = self.run(name)
        if run.plan is not None:
            shared = self.run(run.trunk).plan if run.trunk is not None else None
            sequences = run.plan.sequences - (shared.sequences if shared else 0)
            return run.target.shape.training_flops(sequences, run.plan.sequence_length)
        if run.pruning is not None and run.pruning.training is not None:
            plan = run.pruning.training
            return self.runs[str(run.start)].target.shape.training_flops(plan.sequences, plan.sequence_length)
        return 0

    def priority(self, name: str) -> int:
        """Scheduling priority of a run: what many wait for (parents, and candidates of a search), then the longest.

        A trunk is as long as what hangs on it.
        """
        awaited = self.run(name).role in ("parent", "candidate")
        return self._flops_to_the_end(name) // 10**6 * (1000 if awaited else 1)

    def _flops_to_the_end(self, name: str) -> int:
        """FLOPs of a run, and if it is a trunk, of the longest chain of runs that go on from it."""
        following = [run.name for run in self.recorded_runs.values() if run.trunk == name]
        return self.training_flops(name) + max(map(self._flops_to_the_end, following), default=0)
