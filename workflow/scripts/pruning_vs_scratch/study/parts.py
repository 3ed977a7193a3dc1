"""Parts of a numbered source: the files that one job takes, and how many of them a study needs. No torch here."""

import math
from dataclasses import dataclass

from pruning_vs_scratch.config.corpus import HubFilesSource
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.names import token_label


@dataclass(frozen=True)
class Part:
    """Some files of a source, in its order."""

    name: str
    files: tuple[str, ...]


def parts_of(source: HubFilesSource, tokens: int, training_share: float) -> dict[str, Part]:
    """The first parts of a source, by name: as many as hold so many tokens of training text.

    ``training_share`` of the documents is training text; the others are held out.

    Raises:
        UserError: the source is too small.
    """
    files = math.ceil(tokens / (source.tokens_per_file * training_share))
    if files > source.count:
        raise UserError(
            f"{source.dataset}: the study needs {token_label(tokens)} tokens for training, which is {files:,} files of "
            f"{token_label(source.tokens_per_file)} each, but corpus.sources names {source.count:,}; add files or "
            "lower the budgets"
        )
    size = source.files_per_part
    starts = range(0, files, size)
    parts = [
        Part(f"part-{number:05d}", tuple(source.file(i) for i in range(start, min(start + size, source.count))))
        for number, start in enumerate(starts)
    ]
    return {part.name: part for part in parts}
