"""The command line of ``pvs``: verbs, their help, and completion for shells."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import shtab

from pruning_vs_scratch import cli
from pruning_vs_scratch.program.parser import VERB, Parser

VERBS = {
    "run": "run a study, with progress and the time left",
    "status": "show the progress of a study",
    "plan": "say what a study would cost, without running it",
    "ladder": "say which studies of the paper's proportions fit your hours, and write one",
    "check": "check a study's configuration, and whether a cluster can run it",
    "report": "make the report of a finished study",
    "figures": "redraw tables, claims and figures of archived studies",
    "compare": "draw studies of several sizes side by side",
    "recommend": "prune or train from scratch? Answer for a budget and a ratio",
    "archive": "write a finished study as one file",
    "verify": "check every file of a finished study against its hash",
    "rates": "add the speeds that a finished study measured to your throughput table",
    "prune": "prune a checkpoint of your own",
    "eval": "score checkpoints of your own",
    "export": "export a finished run as a folder for the Hugging Face hub",
}
"""Every verb and what it does; its module has its name."""


def main() -> None:
    """Call the verb that the command line names."""
    parser = program(sys.argv[1:])
    args = parser.parse_args()
    if args.verb is None:
        parser.print_help()
        return
    if getattr(args, "quiet", False):
        cli.be_quiet()
    try:
        import_module(f"pruning_vs_scratch.program.{args.verb}").main(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output, such as head, has had enough: let Python flush the rest elsewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> None:
    """Entry point of the console script."""
    cli.run(main)


def program(words: Sequence[str]) -> Parser:
    """The parser of a command line. Of other verbs than the one it names, it knows the name only.

    To print a completion script, it knows the options of all verbs.
    """
    parser = Parser(
        prog="pvs",
        description="Small LLMs: prune a large model, or train a small one from scratch?",
        epilog="pvs VERB --help has options and examples. STUDY is a name (mini means config/mini.yaml) or a YAML "
        "file. Of several, later ones override earlier ones. Without one, it is the demo.",
    )
    shtab.add_argument_to(parser, "--print-completion", help="print a script that completes verbs and options")
    verbs = parser.add_subparsers(dest="verb", metavar=VERB, title="verbs")
    for verb, summary in VERBS.items():
        own = verbs.add_parser(
            verb, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        if verb in words[:1] or words[:1] == ["--print-completion"]:
            module = import_module(f"pruning_vs_scratch.program.{verb}")
            own.description, own.epilog = module.__doc__, f"examples:\n{module.EXAMPLES}"
            module.add_options(own)
    return parser
