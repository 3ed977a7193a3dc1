"""Train one model by its token plan: a parent, a pruned model (retraining), or a target from random weights.

A plan of the phase "trunk" ends with a state instead of a checkpoint: weights, optimiser and counters, from which runs
of other plans go on (--state).
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument, positive_integer, request_of
from pruning_vs_scratch.config.training import ReporterName
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.study import TrainingPlan
from pruning_vs_scratch.study.gpus import GPUS
from pruning_vs_scratch.training.request import TrainingRequest


def main() -> None:
    """Entry point."""
    args = _arguments()
    request = _request(args)
    import_libraries()
    if args.dry_run is None:
        from pruning_vs_scratch.training.step import train

        train(request)
    else:
        from pruning_vs_scratch.training.dry_run import dry_run_of

        in_node = min(args.in_node, args.processes)
        sys.stdout.write(dry_run_of(request, args.dry_run, processes=args.processes, in_node=in_node))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=json_argument, required=True, help="token plan: JSON text or a JSON file")
    parser.add_argument(
        "--saving", type=json_argument, default={}, help="JSON: when states are saved, where the plan does not say"
    )
    parser.add_argument("--tokens", type=Path, required=True, help="token shards of the training split")
    parser.add_argument("--validation", type=Path, required=True, help="token shards of the validation split")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--target", type=Path, help="target file: start from random weights of its shape")
    start.add_argument("--model", type=Path, help="checkpoint: start from its weights")
    start.add_argument(
        "--redraw-linears", type=Path, help="checkpoint: start from its weights, with its blocks' linear layers redrawn"
    )
    start.add_argument(
        "--redraw-linears-and-head", type=Path, help="the same, with its output projection redrawn too (the authors)"
    )
    parser.add_argument("--like", type=Path, help="checkpoint: random weights take over all but the target's shape")
    parser.add_argument("--cut-like", type=Path, help="pruned checkpoint: cut the random weights as it was cut")
    parser.add_argument("--teacher", type=Path, help="checkpoint to learn from, for a plan with distillation")
    parser.add_argument("--mask", type=Path, help="pruned checkpoint: keep the zeros of its mask")
    parser.add_argument(
        "--report-to", action="append", default=[], choices=get_args(ReporterName), help="show the metrics there, too"
    )
    parser.add_argument("--state", type=Path, help="state of a trunk to continue from; the start is that of the trunk")
    parser.add_argument("--state-metrics", type=Path, help="metrics.jsonl of that trunk: they open this run's")
    parser.add_argument("--work", type=Path, required=True, help="folder for resume state")
    parser.add_argument("--learning-rates", type=Path, help="sweep.json: train at a rate that it chose")
    parser.add_argument("--learning-rate-of", help="which one, such as shared, pruned or scratch:sparse")
    parser.add_argument("--out", type=Path, help="checkpoint folder to write; of a trunk, state folder; else none")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.jsonl to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    dry = parser.add_argument_group("only say what memory and time a step would take (writes nothing, needs no GPU)")
    dry.add_argument("--dry-run", choices=GPUS, metavar="GPU", help=f"on GPUs of a kind: {', '.join(GPUS)}")
    dry.add_argument("--processes", type=positive_integer, default=1, help="of as many processes (default: 1)")
    dry.add_argument("--in-node", type=positive_integer, default=8, help="GPUs per node (default: 8)")
    return parser.parse_args()


def _request(args: argparse.Namespace) -> TrainingRequest:
    """What the options ask for.

    Raises:
        UserError: they contradict each other.
    """
    plan = _with_chosen_rate(TrainingPlan.parse(args.plan, "--plan", args.saving), args)
    if args.cut_like is not None and args.target is None:
        raise UserError("--cut-like cuts random weights: give it with --target, the shape before the cut")
    if args.like is not None and args.target is None:
        raise UserError("--like completes the shape of random weights: give it with --target")
    if args.state_metrics is not None and args.state is None:
        raise UserError("--state-metrics is the curve that led to a state: give it with --state")
    return request_of(TrainingRequest, args, plan=plan)


def _with_chosen_rate(plan: TrainingPlan, args: argparse.Namespace) -> TrainingPlan:
    """The plan at the peak learning rate that a sweep chose, if one is asked."""
    if (args.learning_rates is None) != (args.learning_rate_of is None):
        raise UserError("--learning-rates and --learning-rate-of go together")
    if args.learning_rates is None:
        return plan
    chosen = read_json(args.learning_rates)
    if args.learning_rate_of not in chosen:
        hint = nearest(args.learning_rate_of, chosen)
        raise UserError(f"{args.learning_rates} has no rate {args.learning_rate_of!r}; {hint}")
    return plan.model_copy(update={"peak_learning_rate": chosen[args.learning_rate_of]["peak_learning_rate"]})


if __name__ == "__main__":
    cli.run(main)
