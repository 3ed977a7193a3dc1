"""A rung as a study: the paper's configuration with other numbers, as an overlay on config/config.yaml."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.ladder.machine import Machine
from pruning_vs_scratch.ladder.proportions import MatrixName, Values, tokens_read
from pruning_vs_scratch.ladder.rungs import Parent, two_digits
from pruning_vs_scratch.ladder.shapes import depth_targets, halfway_targets, width_targets
from pruning_vs_scratch.ladder.text import papers_corpus, passes_over_plays
from pruning_vs_scratch.planning.throughput import Work
from pruning_vs_scratch.pruning.catalogue import facts_of

SWEPT_BELOW = 1_000_000_000
"""Parameters below which a sweep finds the rates of each side and granularity; above, they are given as in the paper,
since the sweep would cost thousands of GPU-hours."""
SWEPT_ON = ("minitron_depth@0.5", "minitron_width@0.5", "sparsegpt@0.5")
"""A model of each granularity, in both matrices."""
BENCHMARKS_FROM = 30_000_000
"""Parameters from which on the public benchmarks are scored; smaller models can only guess."""
BENCHMARK_TOKENS = 6_000_000
"""Approximate tokens of the eight benchmarks' items and answers."""
EVALUATION_MINUTES, BENCHMARK_MINUTES = 2.0, 2.0
"""Assumed minutes per checkpoint: start, text and tables; and lm-eval's overhead."""
LARGE = 1_000_000_000
"""Parameters from which on memory is saved: activations are recomputed, and blocks are read when needed."""
TOGETHER = 2
"""Sequences of the paper's length, in tokens, that a process handles at once on one node: the paper's handle one."""

BY_SIZE = ("devices", "devices_per_node", "device_gigabytes")
"""Keys of the cluster that determine the processes of the paper's runs."""


def rung_overlay(name: str, parent: Parent, matrix: MatrixName, machine: Machine) -> Values:
    """The overlay of a study of this name.

    Raises:
        UserError: no shape fits a target, or the throughput table lacks the device at this size.
    """
    values = _Overlay(name, parent, matrix, machine).values()
    return {key: values[key] for key in parent.proportions.overlay if key in values}


class _Overlay:
    def __init__(self, name: str, parent: Parent, matrix: MatrixName, machine: Machine) -> None:
        self.name, self.parent, self.which, self.machine = name, parent, matrix, machine
        self.paper: StudyConfig = parent.proportions.paper
        self.length = parent.sequence_length
        self.batch = parent.batch_tokens // self.length
        self.processes = machine.processes(parent.batch_tokens)
        self.threads = machine.threads(parent.batch_tokens, self.paper.training)
        self.swept = parent.params < SWEPT_BELOW
        self.rate_factor = parent.peak_learning_rate / self.paper.training.peak_learning_rate

    def values(self) -> Values:
        """The overlay: with the plays, the demo's corpora and evaluation stay; otherwise the paper's replace them."""
        values = deepcopy(self.parent.proportions.overlay) | {"study": self.name}
        corpus, evaluation = values.pop("corpus"), values.pop("evaluation")
        tokenizer = values.pop("tokenizer")
        if not self.parent.is_papers:
            tokenizer = {"vocab_size": self.parent.shape.vocab_size, "shard_tokens": tokenizer["shard_tokens"]}
        values["parent"] = self._parent(values["parent"])
        values["targets"] = self._targets()
        values["matrix"] = self._matrix()
        values["pruning"] = self._pruning(values["pruning"])
        values["training"] = self._training(values["training"])
        values["sweep"] = self._sweep(values["sweep"])
        values["cluster"] = self._cluster(values["cluster"], evaluation)
        provisional = values | {"tokenizer": {"vocab_size": self.parent.shape.vocab_size}}
        tokens = tokens_read(self.parent.proportions.study(provisional))
        passes = passes_over_plays(self.parent, tokens)
        if passes is not None:
            del values["cluster"]["evaluation_minutes"]
            windows = {"test": evaluation["perplexity"]["corpora"]["test"]}
            text: Values = {"corpus": {"passes": passes}, "tokenizer": {"vocab_size": tokenizer["vocab_size"]}}
            return values | text | {"evaluation": {"perplexity": {"corpora": windows}}}
        values["corpus"] = papers_corpus(corpus, self.parent, tokens)
        return values | {"tokenizer": tokenizer, "evaluation": self._evaluation(evaluation)}

    def _parent(self, values: Values) -> Values:
        shape = self.parent.shape
        return {"tokens": self.parent.tokens, "shape": {key: getattr(shape, key) for key in values["shape"]}}

    def _targets(self) -> Values:
        of_paper, shape = self.parent.proportions, self.parent.shape
        targets = {"depth": depth_targets(of_paper, shape), "width": width_targets(of_paper, shape)}
        ratios = [arm["ratios"][-1] for block in of_paper.matrix(self.which) for arm in block.get("gradual", [])]
        for ratio in ratios:
            for granularity, halfway in halfway_targets(of_paper, shape, ratio).items():
                targets[granularity] = halfway + targets[granularity]
        return targets

    def _matrix(self) -> list[Values]:
        """The paper's blocks; depth methods keep those ratios for which there are enough decoder blocks."""
        blocks = []
        for block in self.parent.proportions.matrix(self.which):
            block = self._with_budgets(block)
            deep = [method for method in block["methods"] if facts_of(method).granularity == "depth"]
            others = [method for method in block["methods"] if method not in deep]
            reached = self._depth_ratios(block["ratios"])
            if reached == block["ratios"]:
                deep, others = block["methods"], []
            blocks += [
                block | {"methods": methods, "ratios": ratios}
                for methods, ratios in ((deep, reached), (others, block["ratios"]))
                if methods
            ]
        return blocks

    def _with_budgets(self, values: Any) -> Any:
        """A block, or a part of one, with this parent's budgets: the only whole numbers in it."""
        if isinstance(values, dict):
            return {key: self._with_budgets(value) for key, value in values.items()}
        if isinstance(values, list):
            return [self._with_budgets(value) for value in values]
        return self._budget(values) if isinstance(values, int) else values

    def _budget(self, tokens: int) -> int:
        """The same share of this parent's tokens; of arms, in batches that two steps of pruning can share."""
        found = self.parent.budget(tokens)
        return found // (2 * self.parent.batch_tokens) * 2 * self.parent.batch_tokens if self.which == "arms" else found

    def _depth_ratios(self, ratios: list[float]) -> list[float]:
        known = [target["ratio"] for target in depth_targets(self.parent.proportions, self.parent.shape)]
        return [ratio for ratio in ratios if ratio in known] or [max(known)]

    def _pruning(self, values: Values) -> Values:
        learning, papers = values["sheared_llama"], self.paper.training.global_batch_size
        batch = max(1, learning["global_batch_size"] * self.batch // papers)
        processes = min(self.processes, values["processes"], batch)
        steps = self.parent.proportions.share(learning["tokens"]) * self.parent.tokens / (batch * self.length)
        learning |= {
            "tokens": round(steps) * batch * self.length,
            "global_batch_size": batch,
            "micro_batch_size": self._at_once(learning["micro_batch_size"], batch // processes),
            "weight_learning_rate": two_digits(learning["weight_learning_rate"] * self.rate_factor),
        }
        calibration = values["calibration"]
        calibration["batch_size"] = self._at_once(calibration["batch_size"], calibration["sequences"])
        calibration["sequence_length"] = self.length
        return values | {"processes": processes, "low_memory": self.parent.params >= LARGE}

    def _training(self, values: Values) -> Values:
        rate, in_a_node = self.parent.peak_learning_rate, self.machine.nodes(self.processes) == 1
        together = TOGETHER if in_a_node else values["micro_batch_size"]
        values |= {
            "sequence_length": self.length,
            "global_batch_size": self.batch,
            "micro_batch_size": self._at_once(together, self.batch // self.processes),
            "peak_learning_rate": rate,
            "precision": self.machine.precision,
            "activation_checkpointing": values["activation_checkpointing"] if self.parent.params >= LARGE else False,
            "threads": self.threads,
            "processes": self.processes,
        }
        rules = values.pop("learning_rates")
        if not self.swept:
            values["learning_rates"] = [self._rule(rule) for rule in rules]
        if in_a_node:
            del values["sharding"]
        if not self.machine.has_gpus:
            del values["loss_chunk_tokens"]  # a CPU has a different default
        return values

    def _rule(self, rule: Values) -> Values:
        """A rule of the paper at other rates and budgets."""
        changed = rule | {"peak": two_digits(rule["peak"] * self.rate_factor)}
        if "budgets" in rule:
            changed["budgets"] = [self._budget(budget) for budget in rule["budgets"]]
        return changed

    def _sweep(self, values: Values) -> Values:
        rates = [two_digits(rate * self.rate_factor) for rate in values["peak_learning_rates"]]
        values |= {"peak_learning_rates": rates, "tokens": self.parent.budget(values["tokens"])}
        return values | ({"on": list(SWEPT_ON), "use": "granularity"} if self.swept else {})

    def _evaluation(self, values: Values) -> Values:
        perplexity, speed = values["perplexity"], values["speed"]
        most = max(number for number in perplexity["corpora"].values() if number is not None)
        perplexity["batch_size"] = self._at_once(perplexity["batch_size"], most)
        perplexity["sequence_length"] = self.length
        prompt = speed["prompt_tokens"] * self.length // self.paper.training.sequence_length
        values["speed"] = {"prompt_tokens": prompt, "new_tokens": min(prompt, speed["new_tokens"])}
        if self.parent.params < BENCHMARKS_FROM:
            del values["tasks"]
        return values | {"precision": self.machine.precision, "processes": self._evaluating(values)}

    def _evaluating(self, evaluation: Values) -> int:
        return min(int(evaluation["processes"]), self.processes)

    def _cluster(self, values: Values, evaluation: Values) -> Values:
        machine = self.machine
        # All runs of a rung use the same number of processes; the paper's depend on their size.
        values = {"nodes": machine.nodes(self.processes)} | {k: v for k, v in values.items() if k not in BY_SIZE}
        values |= {"gpus": machine.has_gpus, "device": machine.device}
        if self.parent.is_papers:
            return values
        shallowest = depth_targets(self.parent.proportions, self.parent.shape)[-1]["layers"]
        smallest = replace(self.parent.shape, layers=shallowest).params_total
        works: tuple[tuple[str, Work], ...] = (("train", "train"), ("prune", "forward"))
        units = 1 if machine.has_gpus else self.threads
        rates = {key: two_digits(units * machine.rate(work, smallest).rate) for key, work in works}
        return values | {"teraflops": rates, "evaluation_minutes": self._minutes(evaluation, units)}

    def _minutes(self, evaluation: Values, units: int) -> float:
        """Assumed minutes to evaluate the parent: twice the time of its operations, plus overhead."""
        shape, corpora = self.parent.shape, evaluation["perplexity"]["corpora"].values()
        flops = shape.forward_flops(sum(number for number in corpora if number is not None), self.length)
        around = EVALUATION_MINUTES
        if self.parent.params >= BENCHMARKS_FROM:
            flops += 2 * shape.params_total * BENCHMARK_TOKENS
            around += BENCHMARK_MINUTES
        rate = self.machine.rate("forward", shape.params_total).rate * units * self._evaluating(evaluation)
        return two_digits(around + 2 * flops / rate / 1e12 / 60)

    def _at_once(self, papers: int, most: int) -> int:
        """Windows with as many tokens as this many of the paper's, but at most as many as there are."""
        return min(most, papers * self.paper.training.sequence_length // self.length)
