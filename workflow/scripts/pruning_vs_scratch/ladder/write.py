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
            f"{file}: a study's file is NAME.yaml, in lower-case letters, digits, - and _, such as config/mine.yaml"
        )
    if file.exists():
        raise UserError(f"{file} already exists and is not overwritten: delete it, or choose another name")


def write_rung(price: Price, file: Path) -> None:
    """Write the overlay of a rung; the study is named after the file.

    Raises:
        UserError: the file exists already, or its name is not a study's.
    """
    require_new_study(file)
    machine = price.machine
    command = (
        f"pvs ladder --params {price.parent.rung.name} --{price.matrix} --gpus {machine.count} "
        f"--device {machine.device} --write {file}"
    )
    values = rung_overlay(file.stem, price.parent, price.matrix, machine)
    write_text(file, page.overlay_text(price, values, file, command))
