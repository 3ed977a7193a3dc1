"""Write requirements.lock and the versions in envs/ from the packages of the environment that runs this."""

import re
from importlib.metadata import distributions

from pruning_vs_scratch import cli
from pruning_vs_scratch.files import write_text

LOCK = cli.REPOSITORY / "requirements.lock"
ENVIRONMENTS = (cli.REPOSITORY / "envs/cpu.yaml", cli.REPOSITORY / "envs/gpu.yaml")
HEADER = "# Exact versions of everything: pip install -c requirements.lock -e '.[dev]'. Written by 'make lock'.\n"
NOT_LOCKED = re.compile(r"^(pip|setuptools|wheel|pruning-vs-scratch|triton|nvidia-.*|cuda-.*)$")
"""The installer, this project, and the GPU libraries that torch pins itself."""


def main() -> None:
    """Entry point."""
    versions = installed_versions()
    write_text(LOCK, HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(versions.items())))
    for path in ENVIRONMENTS:
        write_text(path, with_versions(path.read_text(encoding="utf-8"), versions))


def installed_versions() -> dict[str, str]:
    """Name, in canonical form, to version without a local suffix such as +cpu."""
    found = {canonical(d.metadata["Name"]): d.version.split("+")[0] for d in distributions()}
    return {name: version for name, version in found.items() if not NOT_LOCKED.match(name)}


def canonical(name: str) -> str:
    """A distribution's name in canonical form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def with_versions(environment: str, versions: dict[str, str]) -> str:
    """An environment file with the version of each pinned package replaced."""
    return re.sub(r"(- )([a-z0-9-]+)==\S+", lambda m: f"{m[1]}{m[2]}=={versions[m[2]]}", environment)


if __name__ == "__main__":
    cli.run(main)
