"""A rung as a file under config/."""

import re
from pathlib import Path

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import write_text
from pruning_vs_scratch.ladder import page
from pruning_vs_scratch.ladder.overlay import rung_overlay
from pruning_vs_scratch.ladder.price import Price

STUDY = re.compile(r"[a-z][a-z0-9_-]*")


def require_new_study(file: Path) -> None:
    """Refuse a file that cannot be a new study's.

    Raises:
        UserError: the file exists already, or its name is not a study's.
    """
    if file.suffix != ".yaml" or not STUDY.fullmatch(file.stem):
        raise UserError(
            f"{file}: a study's file is NAME.yaml, in small letters, digits, - and _, such as config/ladder-1m.yaml"
        )
    if file.exists():
        raise UserError(f"{file} is there already, and is not written over: delete it, or choose another name")


def write_rung(price: Price, file: Path) -> None:
    """Write the overlay of a rung; the study is named after the file.

    Raises:
        UserError: the file exists already, or its name is not a study's.
    """
    require_new_study(file)
    machine = price.machine
    command = (
        f"make ladder PARAMS={price.parent.rung.name} MATRIX={price.matrix} GPUS={machine.count} "
        f"DEVICE={machine.device} OUT={file}"
    )
    values = rung_overlay(file.stem, price.parent, price.matrix, machine)
    write_text(file, page.overlay_text(price, values, file, command))
