"""What belongs to a site and a person, not to a study: account, partitions, and the like.

They come from the file slurm/site.yaml, which git ignores, and from sbatch's own variables, which override the file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.config.explain import explained
from pruning_vs_scratch.config.strict_yaml import read_yaml
from pruning_vs_scratch.errors import UserError

SITE_FILE = Path("slurm/site.yaml")
VARIABLES = {
    "account": "SBATCH_ACCOUNT",
    "partition": "SBATCH_PARTITION",
    "qos": "SBATCH_QOS",
    "reservation": "SBATCH_RESERVATION",
    "constraint": "SBATCH_CONSTRAINT",
}
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,:@+&|*\[\]()-]+$")]
GpuModel = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")]


class Queue(Section):
    """Where jobs of one kind go. Anything unset is left to SLURM."""

    account: Word | None = None
    partition: Word | None = None
    qos: Word | None = None
    reservation: Word | None = None
    constraint: Word | None = None
    """Features that a node must have."""
    gpu_model: GpuModel | None = None
    """Type of GPU, as the site's gres names it."""
    max_hours: Annotated[float, Field(gt=0)] | None = None
    """Longest time to request; training that takes longer stops in time and continues in another job."""

    @property
    def resources(self) -> dict[str, str]:
        """What Snakemake's executor should add to each submission."""
        named = {
            "slurm_account": self.account,
            "slurm_partition": self.partition,
            "qos": self.qos,
            "constraint": self.constraint,
            "slurm_extra": f"--reservation={self.reservation}" if self.reservation else None,
        }
        return {name: value for name, value in named.items() if value is not None}

    @property
    def options(self) -> list[str]:
        """The same for a call of sbatch."""
        given = self.model_dump(include=set(VARIABLES), exclude_none=True)
        return [f"--{name}={value}" for name, value in given.items()]


class Site(Section):
    """Queues for jobs without and with a GPU."""

    cpu: Queue = Queue()
    gpu: Queue = Queue()


def read_site(file: Path = SITE_FILE, environment: Mapping[str, str] = os.environ) -> Site:
    """The site's file, if there is one, overridden by environment variables.

    Raises:
        UserError: a key or value is not valid.
    """
    given = {name: environment[variable] for name, variable in VARIABLES.items() if environment.get(variable)}
    try:
        values = read_yaml(file) if file.exists() else {}
        site = Site.model_validate(values or {})
        return Site(**{kind: Queue(**getattr(site, kind).model_dump() | given) for kind in Site.model_fields})
    except ValidationError as error:
        problems = "; ".join(explained(error, Site))
        raise UserError(f"{file}, or one of {', '.join(VARIABLES.values())}, is not valid: {problems}") from error
