"""Write the JSON schema of a study's configuration anew."""

from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.schema import config_schema
from pruning_vs_scratch.files import write_json

SCHEMA = Path("workflow/schemas/study.schema.json")


def main() -> None:
    """Entry point."""
    write_json(cli.REPOSITORY / SCHEMA, config_schema())


if __name__ == "__main__":
    cli.run(main)
