"""Write a text or a printed table of a study, in Markdown, as a page for the report: one .html that loads nothing."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import write_text
from pruning_vs_scratch.tables.pages import page


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, required=True, help="the text, a .md")
    parser.add_argument("--out", type=Path, required=True, help="the page to write, a .html")
    args = parser.parse_args()
    write_text(args.out, page(_read(args.markdown)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}): run the workflow up to its tables again") from error


if __name__ == "__main__":
    cli.run(main)
