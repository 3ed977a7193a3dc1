"""Names that libraries cannot misread: ``datasets`` takes ``[x]`` in a path for a pattern, and ``::`` for two paths."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pruning_vs_scratch.errors import UserError

MISREAD = re.compile(r"[][*?]|::")


@contextmanager
def plainly_named(path: Path) -> Iterator[Path]:
    """Another name of a file or folder, for as long: a link in a temporary folder.

    Raises:
        UserError: the folder for temporary files has such a name itself.
    """
    with tempfile.TemporaryDirectory(prefix="plain-") as folder:
        if MISREAD.search(folder):
            raise UserError(
                f"the folder for temporary files is {tempfile.gettempdir()}, which libraries take for a pattern: set "
                "TMPDIR to one whose name has none of [ ] * ? ::"
            )
        link = Path(folder, f"link{path.suffix}")
        link.symlink_to(path.resolve())
        yield link
