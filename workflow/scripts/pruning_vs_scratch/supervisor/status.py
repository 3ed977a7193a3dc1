"""The progress of a study, from the files that its steps have written."""

from collections.abc import Iterator
from pathlib import Path

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.progress import START_SECONDS, finished_jobs, job_seconds
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.supervisor.living import described, snakemakes
from pruning_vs_scratch.supervisor.run import threads_of_training
from pruning_vs_scratch.time_left import Guess

KINDS = {"Train": "trained", "Score": "scored", "Prune": "pruned", "Evaluate": "evaluated"}
"""First words of the long jobs' messages, in the order of a study, and the word for finished ones."""


def status(study: Study, cores: int) -> str:
    """What is done, what is running, and about how long is left on a number of cores."""
    return "".join(f"{line}\n" for line in _lines(study, cores))


def _lines(study: Study, cores: int) -> Iterator[str]:
    guesses = job_seconds(study, START_SECONDS)
    done = finished_jobs(study) & set(guesses)
    yield f"study {study.name}: {len(done)} of {len(guesses)} long steps are done"
    for kind, participle in KINDS.items():
        if of_kind := [message for message in guesses if message.startswith(f"{kind} ")]:
            yield f"  {participle:9} {sum(message in done for message in of_kind):4} of {len(of_kind)}"
    running = snakemakes(Path.cwd())
    yield f"active here: {', '.join(map(described, running))}" if running else "no run is active here"
    claims = study.paths.results / "claims.json"
    if len(done) == len(guesses) and claims.exists():
        verdicts = ", ".join(f"{claim['id']} {claim['verdict']}" for claim in read_json(claims)["claims"])
        yield f"finished: {verdicts}"
        yield f"report: {study.paths.report}"
        return
    seconds = _pace(study, guesses) * sum(guess.seconds for message, guess in guesses.items() if message not in done)
    slots = max(1, cores // threads_of_training(study))
    yield f"about {seconds / slots / 60:,.0f} minutes are left on {cores} cores"
    if not running:
        yield f"pvs run {study.name} {'resumes' if done else 'starts'} it"


def _pace(study: Study, guesses: dict[str, Guess]) -> float:
    """How much longer the finished training runs took than estimated; 1 until there are any."""
    taken = guessed = 0.0
    for name in study.trained_by_plan:
        if (manifest := study.paths.manifest(name)).exists() and f"Train {name}" in guesses:
            taken += read_manifest(manifest)["facts"]["ledger"]["wall_seconds"]
            guessed += guesses[f"Train {name}"].seconds
    return taken / guessed if guessed else 1.0
