"""What the operating system does with a process when its parent ends; Linux only."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def signal_when_parent_ends(number: signal.Signals) -> None:
    """Ask the kernel to send this process a signal when its parent ends; elsewhere than on Linux, nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
