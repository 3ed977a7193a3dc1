"""A real, private SLURM: munge, a controller and two nodes on this machine, all in one folder. Only the links in
/etc/slurm are outside: jobs do not inherit SLURM_CONF, and find the cluster there.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = ["slurm-wlm", "munge"]
SYSTEM = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
NODES = ("n1", "n2")
CPUS = 8
GPUS = 2
"""Of each node; more CPUs than the machine may have, and no real GPUs."""
SECONDS_TO_START = 30
SECONDS_TO_STOP = 30

SLURM_CONF = r"""
ClusterName=private
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmctldParameters=node_reg_mem_percent=1
ReturnToService=2
MinJobAge=300
KillWait=5
SlurmdTimeout=10
JobRequeue=1
EnforcePartLimits=ALL
GresTypes=gpu
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17001-17002] CPUs={cpus} \
  RealMemory=64000 Gres=gpu:{gpus}
PartitionName=main Default=YES MaxTime=120 Nodes=ALL
PartitionName=brief MaxTime=10 Nodes=ALL
"""


def install() -> str | None:
    """Make sure that SLURM is there; why it cannot be, or None."""
    if os.geteuid() != 0:
        return "a private SLURM is started by root only"
    if (SYSTEM / "slurm.conf").exists():
        return f"this machine belongs to a cluster already: {SYSTEM}/slurm.conf"
    if all(shutil.which(program) for program in ("munged", "slurmctld", "slurmd", "sbatch")):
        return None
    if shutil.which("apt-get") is None:
        return f"SLURM is missing, and there is no apt-get to install {' and '.join(PACKAGES)}"
    quietly = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    subprocess.run(["apt-get", "update"], **quietly)
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    failed = subprocess.run(command, **quietly, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}).returncode
    return f"apt-get could not install {' and '.join(PACKAGES)}" if failed else None


class Cluster:
    """The daemons of one cluster; everything that they write is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._links: list[Path] = []

    def start(self) -> None:
        """Write the configuration and start everything."""
        self._configure()
        self._start_munge()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait_until(lambda: self.states() == {"idle"}, "the nodes did not come up")

    def stop(self) -> None:
        """End all daemons and jobs, and take the links away."""
        subprocess.run(["scancel", "--full", "--user=root"], check=False, capture_output=True)
        for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged"):
            self.stop_daemon(name)
        for link in self._links:
            link.unlink(missing_ok=True)

    def start_controller(self) -> None:
        """Start the controller, which continues from its stored state."""
        subprocess.run(["slurmctld"], check=True)

    def start_node(self, node: str) -> None:
        """Start one node's daemon."""
        subprocess.run(["slurmd", "-N", node], check=True)

    def stop_daemon(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal one daemon by its pid file, and wait for its end."""
        pid = self._pid(name)
        if pid is None:
            return
        os.kill(pid, number)
        self.wait_until(lambda: not _is_running(pid), f"{name} did not stop", SECONDS_TO_STOP)

    def states(self) -> set[str]:
        """The states of the nodes."""
        return set(_output("sinfo", "-h", "-N", "-o", "%t").split())

    def jobs(self, *states: str) -> dict[str, str]:
        """Comments, which name the rule and its wildcards, by the ids of the jobs in these states."""
        lines = _output("squeue", "-h", "-t", ",".join(states), "-o", "%i %k").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    @staticmethod
    def wait_until(holds: Callable[[], bool], message: str, seconds: float = SECONDS_TO_START) -> None:
        """Look again and again, for some seconds at most."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, message
            time.sleep(0.2)

    def _configure(self) -> None:
        tracking = "cgroup" if Path("/sys/fs/cgroup/freezer").exists() else "pgid"
        settings = SLURM_CONF.format(folder=self.folder, tracking=tracking, cpus=CPUS, gpus=GPUS)
        devices = [self.folder / f"gpu{i}" for i in range(GPUS)]
        for device in devices:
            subprocess.run(["mknod", str(device), "c", "1", "3"], check=True)
        texts = (
            settings,
            f"AutoDetect=off\nNodeName=n[1-2] Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n",
            "CgroupPlugin=cgroup/v1\n",
        )
        (self.folder / "state").mkdir()
        for name, text in zip(FILES, texts, strict=True):
            (self.folder / name).write_text(text)
            self._link(name)

    def _link(self, name: str) -> None:
        SYSTEM.mkdir(exist_ok=True)
        link = SYSTEM / name
        link.symlink_to(self.folder / name)
        self._links.append(link)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid",
                 "seed-file": "munge.seed", "log-file": "munge.log"}  # fmt: skip
        options = [f"--{option}={self.folder / file}" for option, file in files.items()]
        subprocess.run(["munged", "--force", *options], check=True, capture_output=True)

    def _pid(self, name: str) -> int | None:
        file = self.folder / f"{name}.pid"
        text = file.read_text().strip() if file.exists() else ""
        return int(text) if text and _is_running(int(text)) else None


def _output(*command: str) -> str:
    """What a command prints; nothing where it fails, as while the controller is away."""
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
