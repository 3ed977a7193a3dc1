"""Import torch and transformers once, and run the commands of jobs in forks; started by `pvs run`.

It ends when its standard input is closed and the last command is done.
"""

import argparse
import runpy
import socket
import sys

from pruning_vs_scratch import cli
from pruning_vs_scratch.warm.server import WarmInterpreter


def main() -> None:
    """Entry point, of the interpreter and of each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listener", type=int, required=True, help="descriptor of the socket where jobs connect")
    args = parser.parse_args()
    request = WarmInterpreter(socket.socket(fileno=args.listener), sys.stdin.fileno()).serve()
    if request is not None:
        sys.argv = request.command
        runpy.run_path(request.command[0], run_name="__main__")


if __name__ == "__main__":
    cli.run(main)
