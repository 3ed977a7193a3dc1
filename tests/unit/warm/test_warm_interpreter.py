"""Commands in forks of a warm interpreter: the same as in a separate process, in everything that they see and leave."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pruning_vs_scratch.warm import server
from pruning_vs_scratch.warm.request import WarmRequest, differing_variables
from pruning_vs_scratch.warm.server import WarmInterpreter
from pruning_vs_scratch.warm.start import ONE_THREAD, warm_interpreter
from train_commands import SCRIPTS, train_command, wait_for_state
from training_plans import make_plan

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no forks elsewhere")

LAUNCH = [sys.executable, str(SCRIPTS / "launch.py")]
SECONDS = 60
"""More than any of these commands takes on a busy machine."""
TOLD = """
import json, os, sys
told = {"warm": "torch" in sys.modules, "arguments": sys.argv[1:], "folder": os.getcwd(), "umask": os.umask(0)}
told |= {"variable": os.environ.get("OF_THIS_JOB"), "stdin": sys.stdin.read(), "name": __name__}
print(json.dumps(told))
print("to the log", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""
KILLED = "import os; os.kill(os.getpid(), 9)"
STOPPED = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep(60)
"""
WAITING = """
import os, sys, time
print(os.getpid(), flush=True)
sys.stdin.readline()
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of jobs with a warm interpreter."""
    with warm_interpreter(tmp_path_factory.mktemp("warm") / "socket") as told:
        yield os.environ | ONE_THREAD | told


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    """Makes a script of a text; the call of it."""

    def write(text: str) -> list[str]:
        file = tmp_path / "script.py"
        file.write_text(text)
        return [*LAUNCH, str(file)]

    return write


def run(command: list[str], variables: dict[str, str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def started(command: list[str], variables: dict[str, str], cwd: Path | None = None) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=variables, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=cwd)


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def told(result: subprocess.CompletedProcess[str]) -> dict:
    return json.loads(result.stdout)


@pytest.mark.slow
def test_a_command_sees_its_own_job_and_ends_with_its_own_code(
    variables: dict[str, str], script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    command = [*script(TOLD), "7", "a word", "--option=$é"]
    result = run(command, variables, cwd=tmp_path, input="read", umask=0o027)
    assert result.returncode == 7
    assert result.stderr == "to the log\n"
    expected = {
        "arguments": ["7", "a word", "--option=$é"], "folder": str(tmp_path), "umask": 0o027, "variable": None,
        "stdin": "read", "name": "__main__",
    }  # fmt: skip
    assert told(result) == {"warm": True, **expected}
    alone = run(command, dict(os.environ), cwd=tmp_path, input="read", umask=0o027)
    assert (alone.returncode, alone.stderr, told(alone)) == (7, result.stderr, {"warm": False, **expected})


@pytest.mark.parametrize("change", [{"OMP_NUM_THREADS": "2"}, {"OF_THIS_JOB": "1"}], ids=["threads", "any"])
def test_an_environment_other_than_that_of_the_imports_needs_a_fresh_interpreter(
    variables: dict[str, str], script: Callable[[str], list[str]], change: dict[str, str]
) -> None:
    result = run([*script(TOLD), "0"], variables | change, input="")
    assert result.returncode == 0
    assert told(result)["warm"] is False
    assert told(result)["variable"] == change.get("OF_THIS_JOB")


def test_changed_code_or_another_python_needs_a_fresh_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    with server.socket.socket() as listener:
        interpreter = WarmInterpreter(listener, 0)
    request = WarmRequest(["train.py"], sys.prefix, ".", dict(os.environ), 0)
    assert interpreter._fits(request)
    assert not interpreter._fits(replace(request, prefix="/another/python"))
    monkeypatch.setattr(interpreter, "_source_hash", "that of the code before")
    assert not interpreter._fits(request)


def test_a_killed_command_kills_its_job(variables: dict[str, str], script: Callable[[str], list[str]]) -> None:
    assert run(script(KILLED), variables).returncode == -signal.SIGKILL


def test_a_stop_signal_reaches_the_command(variables: dict[str, str], script: Callable[[str], list[str]]) -> None:
    job = started(script(STOPPED), variables)
    assert job.stdout is not None and job.stdout.readline() == "ready\n"
    job.terminate()
    assert job.wait(SECONDS) == 75


def test_a_killed_job_leaves_no_command_behind(variables: dict[str, str], script: Callable[[str], list[str]]) -> None:
    job = started(script(WAITING), variables)
    assert job.stdout is not None
    command = int(job.stdout.readline())
    assert command != job.pid
    job.kill()
    wait_until(lambda: not psutil.pid_exists(command))


@pytest.mark.slow
def test_a_job_that_is_killed_while_it_waits_for_the_imports_runs_nothing(
    script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    with warm_interpreter(tmp_path / "socket") as told_variables:
        variables = os.environ | ONE_THREAD | told_variables
        (tmp_path / "mark.py").write_text("open('ran', 'w')")
        job = started([*LAUNCH, "mark.py"], variables, cwd=tmp_path)
        wait_until(lambda: bool(psutil.Process(job.pid).net_connections("unix")))
        time.sleep(0.2)  # it asks at once; the imports take seconds
        job.kill()
        job.wait()
        assert told(run([*script(TOLD), "0"], variables, input=""))["warm"] is True
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_commands_run_in_parallel(variables: dict[str, str], script: Callable[[str], list[str]]) -> None:
    jobs = [started(script(WAITING), variables) for _ in range(3)]
    commands = {int(job.stdout.readline()) for job in jobs if job.stdout}
    assert len(commands) == 3
    for job in reversed(jobs):
        assert job.communicate("go on\n", timeout=SECONDS)[0] == "done\n"
        assert job.returncode == 0


def waiting(
    script: Callable[[str], list[str]], variables: dict[str, str]
) -> tuple[subprocess.Popen[str], psutil.Process, psutil.Process]:
    """A job that waits for a line, the command that it has run, and the interpreter that forked it."""
    job = started(script(WAITING), variables)
    assert job.stdout is not None
    command = psutil.Process(int(job.stdout.readline()))
    interpreter = command.parent()
    assert interpreter is not None
    return job, command, interpreter


@pytest.mark.slow
def test_what_runs_at_the_end_is_finished_and_what_comes_later_starts_itself(
    script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    with warm_interpreter(tmp_path / "socket") as told_variables:
        variables = os.environ | ONE_THREAD | told_variables
        job, _, interpreter = waiting(script, variables)
    late = run([*script(TOLD), "0"], variables, input="")
    assert told(late)["warm"] is False
    assert interpreter.is_running()
    assert job.communicate("go on\n", timeout=SECONDS)[0] == "done\n"
    wait_until(lambda: not interpreter.is_running() or interpreter.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.slow
def test_a_killed_interpreter_ends_its_commands_and_its_jobs_report_it(
    script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    with warm_interpreter(tmp_path / "socket") as told_variables:
        variables = os.environ | ONE_THREAD | told_variables
        job, command, interpreter = waiting(script, variables)
        interpreter.send_signal(signal.SIGTERM)  # for the commands, not for it
        interpreter.kill()
        assert "was killed; run the study again" in job.communicate(timeout=SECONDS)[1]
        assert job.returncode == 1
        wait_until(lambda: not psutil.pid_exists(command.pid))
        assert told(run([*script(TOLD), "0"], variables, input=""))["warm"] is False


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_weights_of_a_separate_process(
    variables: dict[str, str],
    prepared: Path,
    tmp_path: Path,
) -> None:
    plan = make_plan(window_start=0, window_end=1200, checkpoint_every_steps=20)
    subprocess.run(
        train_command(prepared, tmp_path / "alone", plan),
        check=True, capture_output=True, env=os.environ | ONE_THREAD,
    )  # fmt: skip
    command = LAUNCH + train_command(prepared, tmp_path / "warm", plan)[1:]
    job = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
    wait_for_state(tmp_path / "warm/work", job)
    job.kill()
    job.wait()
    resumed = run(command, variables)
    assert resumed.returncode == 0, resumed.stderr
    assert "step 1/300" not in resumed.stderr
    ours, theirs = (tmp_path / name / "model/model.safetensors" for name in ("warm", "alone"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_an_activated_environment_changes_nothing() -> None:
    """Its prompt is a variable, which the shell of a job does not pass on."""
    assert differing_variables({"PS1": "(.venv) ", "LANG": "C"}, {"LANG": "C"}) == set()
    assert differing_variables({"PS1": "(.venv) ", "LANG": "C"}, {"LANG": "de"}) == {"LANG"}


SNAKEFILE = f"""
rule all:
    output: "told.json"
    threads: 1
    shell: "echo -n | {sys.executable} {SCRIPTS}/launch.py script.py 0 > {{output}} 2> log"
"""


@pytest.mark.slow
def test_a_job_of_snakemake_is_served(
    variables: dict[str, str], script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """Snakemake sets variables for each job: none that libraries read when they are imported."""
    script(TOLD)
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    result = run([sys.executable, "-m", "snakemake", "--cores", "2"], variables, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert '"warm": true' in (tmp_path / "told.json").read_text()
