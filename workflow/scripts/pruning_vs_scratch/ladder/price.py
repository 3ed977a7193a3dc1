"""The cost of a rung on some devices, from the plan of its study."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pruning_vs_scratch.cluster.demand import STATE_BYTES
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ladder.machine import Machine
from pruning_vs_scratch.ladder.overlay import rung_overlay
from pruning_vs_scratch.ladder.proportions import MATRICES, MatrixName
from pruning_vs_scratch.ladder.rungs import Parent
from pruning_vs_scratch.planning.plan import Plan
from pruning_vs_scratch.planning.schedule import makespan
from pruning_vs_scratch.study.study import Study

SECONDS = 3600


@dataclass(frozen=True)
class Price:
    """A rung with one of the matrices."""

    parent: Parent
    matrix: MatrixName
    machine: Machine

    @cached_property
    def study(self) -> Study:
        """The study."""
        values = rung_overlay("ladder", self.parent, self.matrix, self.machine)
        return self.parent.proportions.study(values)

    @cached_property
    def plan(self) -> Plan:
        """Its plan; figures and pages take seconds, and are left out.

        Raises:
            UserError: the throughput table has no rate for some of its work.
        """
        return Plan(self.study, self.machine.throughput, self.machine.device, (), ())

    @property
    def label(self) -> str:
        """'48M core'."""
        return f"{self.parent.rung.name} {self.matrix}"

    @property
    def models(self) -> int:
        """Models that are compared, including the parent."""
        return len(self.study.runs)

    @property
    def flops(self) -> int:
        """Operations of all jobs."""
        return int(self.plan.stages["flops"].sum())

    @property
    def device_hours(self) -> float:
        """Hours of the devices; on a CPU, of its cores."""
        column = "gpu_hours" if self.machine.has_gpus else "core_hours"
        return float(self.plan.stages[column].sum())

    @cached_property
    def hours(self) -> float:
        """Until the last job ends on these devices."""
        gpus = self.machine.count if self.machine.has_gpus else 0
        return makespan(self.plan.graph, self.plan.loads, gpus=gpus, cores=self.machine.cores) / SECONDS

    @property
    def chain_hours(self) -> float:
        """Hours of the longest chain: no number of devices makes it shorter, though more processes per run would."""
        return float(self.plan.chain["hours"].sum())

    @property
    def state_gigabytes(self) -> float:
        """Weights, gradients and moments of the parent, per device."""
        parent = next(name for name, run in self.study.runs.items() if run.role == "parent")
        return STATE_BYTES * self.parent.params / self.study.processes.training(parent) / 1e9

    @property
    def rates(self) -> str:
        """The kinds of rates on which the hours are based: 'assumed, published'."""
        rates = self.plan.rates
        device = rates[(rates["device"] == self.machine.device) & rates["work"].isin(["train", "forward"])]
        return ", ".join(sorted(set(device["kind"])))


@dataclass(frozen=True)
class Ladder:
    """Rungs with their prices, and the reasons why others have none, by name."""

    prices: list[Price]
    unpriced: dict[str, str]


def ladder(parents: Iterable[Parent], machine: Machine, matrices: Sequence[MatrixName] = MATRICES) -> Ladder:
    """The prices of some rungs.

    Raises:
        UserError: none has one, for instance because the throughput table has no rates for the device.
    """
    found, unpriced = [], {}
    for price in (Price(parent, matrix, machine) for parent in parents for matrix in matrices):
        try:
            price.plan  # noqa: B018
        except UserError as error:
            unpriced[price.parent.rung.name] = str(error)
        else:
            found.append(price)
    if not found:
        raise UserError(next(iter(unpriced.values())))
    return Ladder(found, unpriced)


def chosen(known: Sequence[Price], hours: float | None, *, named: bool) -> Price | None:
    """The rung to describe and to write: the largest that fits, or the given one, with the full matrix."""
    if hours is not None:
        return largest_within(known, hours)
    return known[-1] if named else None


def largest_within(known: Sequence[Price], hours: float) -> Price:
    """The largest rung within these hours, with the full matrix if that fits too.

    Raises:
        UserError: none fits; says what the smallest takes.
    """
    fitting = [price for price in known if price.hours <= hours]
    if not fitting:
        least = min(known, key=lambda price: price.hours)
        machine = least.machine
        raise UserError(
            f"nothing fits into {hours:g} hours on {machine.count} x {machine.device}: the smallest, {least.label}, "
            f"takes {least.hours:.2g}; allow that many, or take more or faster devices"
        )
    return max(fitting, key=lambda price: (price.parent.params, price.flops))
