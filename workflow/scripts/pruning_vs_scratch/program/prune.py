"""Prune a checkpoint of your own: Llama, Qwen, Mistral, OLMo or Gemma. OUT is a plain Hugging Face checkpoint."""

import argparse
import sys

from pruning_vs_scratch.cli import add_quiet
from pruning_vs_scratch.pruning.arguments import add_pruning_arguments, prune_by_arguments

EXAMPLES = """  pvs prune --model DIR --method wanda --ratio 0.5 --calibration text.txt --out OUT
  pvs prune --model DIR --method minitron_width --shape ffn_size=4096 --calibration text.jsonl --out OUT --low-memory
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.usage = "%(prog)s --model DIR --method METHOD --out DIR [options]"
    add_pruning_arguments(parser)
    add_quiet(parser)


def main(args: argparse.Namespace) -> None:
    """Prune, and say where the checkpoint is."""
    prune_by_arguments(args)
    sys.stdout.write(f"pruned checkpoint: {args.out}\n")
