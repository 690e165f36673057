"""What the runtime asks of the kernel: who ends with whom, who belongs to a run, who holds a folder.

Linux answers everything. Elsewhere the questions about orphans answer "nothing known": a killed supervisor then
leaves its children to be found by the next start.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

RUN_VARIABLE = "WALLET_RUN"
"""Every process of a run inherits this variable, whatever groups and sessions it opens for itself."""

# <sys/prctl.h>
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class FolderBusy(Exception):
    """Another process holds the lock file."""


def hold(lock: Path) -> int:
    """Take an exclusive lock and return the descriptor that keeps it; the kernel frees it with its last holder.

    :raises FolderBusy: at once, when another descriptor holds it
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FolderBusy(str(lock)) from None
    return descriptor


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that it sees and reaps them."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def ending_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn`: the child gets this signal when the thread that starts it ends, however it ends."""
    parent = os.getpid()

    def arrange() -> None:
        _prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended before the kernel was told
            os._exit(1)

    return arrange


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the process ended, without reaping it: until then its number and group cannot be another's."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group an unreaped process leads, then reap it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def reap_orphans(known: set[int]) -> None:
    """Reap adopted processes that ended; those in `known` are left to whoever started them."""
    if not hasattr(os, "waitid"):
        return
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in known:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def members_of(run: str) -> list[psutil.Process]:
    """List the living processes that inherited this run, this process excepted."""
    return [process for process in _others() if _inherited_run(process) == run]


def working_in(folder: Path, program: str) -> list[psutil.Process]:
    """List the living processes of a program whose working directory is the folder.

    Servers change into their data folder, so this finds them without trusting a number in a file.
    """
    return [process for process in _others() if _works_in(process, folder, program)]


def _others() -> Iterator[psutil.Process]:
    return (process for process in psutil.process_iter() if process.pid != os.getpid())


def _inherited_run(process: psutil.Process) -> str | None:
    try:
        found: str | None = process.environ().get(RUN_VARIABLE)
    except (psutil.Error, OSError):
        return None
    return found


def _works_in(process: psutil.Process, folder: Path, program: str) -> bool:
    try:
        return bool(process.name() == program and process.cwd() == str(folder))
    except (psutil.Error, OSError):
        return False


def _prctl(option: int, argument: int) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(option, argument, 0, 0, 0)


# Loaded once: between fork and exec only calls that are ready to go are safe.
_LIBC = ctypes.CDLL(None)
