"""Run one child so that it never outlives the process that asked for it.

    python guard.py [--lifeline FD --parent PID | --go FD] [--report FD]
                    [--user UID:GID] [--traverse] -- ARGV...

The parent holds the write end of the lifeline pipe. When the parent dies, even from SIGKILL,
the kernel closes that end and the guard kills the child with all its descendants. Should the
guard itself be killed, Linux kills the child (PR_SET_PDEATHSIG); elsewhere that one case is
not covered.

Without a lifeline the child shall live on. The guard then becomes the child by exec, but only
after a byte on the go pipe: by then the parent has written down the pid. A parent that dies
before leaves no process that nobody knows.

Signals meant for the child are forwarded to it; the guard ends as the child ended. Only the
standard library is imported, and nothing of Tapeline: there is one guard per child.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
EXEC_FAILED = 127
SWEEP_SECONDS_MAX = 5.0
# A process forked off the parent without exec may hold the lifeline open: ask for the parent.
PARENT_SECONDS = 2.0

# Numbers of linux/prctl.h and linux/capability.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_CHILD_SUBREAPER = 36
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522


class Options:
    """The command line of the guard."""

    def __init__(self, arguments: list[str]) -> None:
        head, self.argv = _split(arguments)
        self.lifeline: int | None = None
        self.go: int | None = None
        self.parent = os.getppid()
        self.report: int | None = None
        self.user: tuple[int, int] | None = None
        self.traverse = False
        values = iter(head)
        for word in values:
            if word == "--lifeline":
                self.lifeline = int(next(values))
            elif word == "--go":
                self.go = int(next(values))
            elif word == "--parent":
                self.parent = int(next(values))
            elif word == "--report":
                self.report = int(next(values))
            elif word == "--user":
                uid, _, gid = next(values).partition(":")
                self.user = (int(uid), int(gid))
            elif word == "--traverse":
                self.traverse = True
            else:
                raise SystemExit(f"guard: unknown option {word}")


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments or arguments[-1] == "--":
        raise SystemExit("guard: expected '-- ARGV...'")
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _prctl(*numbers: int) -> bool:
    """True if the kernel did it; always False where there is no prctl."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(*(ctypes.c_ulong(n) for n in numbers)) == 0)


def _say(report: int | None, line: str) -> None:
    if report is not None:
        os.write(report, f"{line}\n".encode())


def become(user: tuple[int, int], *, traverse: bool) -> None:
    """Give up root for good; with `traverse` keep the one right to pass private folders."""
    uid, gid = user
    if traverse:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if traverse and not any(_keep(cap) for cap in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE)):
        raise PermissionError("the kernel does not let the server pass private folders")


def _keep(capability: int) -> bool:
    """Reduce the capabilities to this one and hand it on through exec."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    return libc.capset(header, data) == 0 and _prctl(
        _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0
    )


def _exec(options: Options, guard: int | None) -> NoReturn:
    """Become the command; say on the report pipe why if that fails."""
    try:
        if options.user is not None:
            become(options.user, traverse=options.traverse)
        for pipe in (options.report, options.go):
            if pipe is not None:
                os.set_inheritable(pipe, False)
        if guard is not None:
            # Set only now: a change of user clears it.
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(EXEC_FAILED)
        os.execvp(options.argv[0], options.argv)  # noqa: S606 - a list, never a shell
    except OSError as error:
        _say(options.report, f"error {error}")
        os._exit(EXEC_FAILED)


def _spawn(options: Options) -> int:
    guard = os.getpid()
    child = os.fork()
    if child:
        with suppress(OSError):
            os.setpgid(child, child)
        return child
    os.setpgid(0, 0)
    for number in (*FORWARDED, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    assert options.lifeline is not None
    os.close(options.lifeline)
    _exec(options, guard)


def _orphans() -> list[int]:
    """Processes that are now our children: the subreaper inherits those of a dead child."""
    me = str(os.getpid())
    found = []
    for name in os.listdir("/proc") if sys.platform.startswith("linux") else []:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == me:
            found.append(int(name))
    return found


def sweep(group: int) -> None:
    """Kill what is left of the child: its group, then every descendant that left the group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + SWEEP_SECONDS_MAX
    while time.monotonic() < deadline:
        for pid in _orphans():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.01)


def _end_as(status: int) -> NoReturn:
    """End the way the child ended: the same exit code, or the same signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0 and -code not in (signal.SIGSTOP, signal.SIGTSTP):
        # One core file, the child's, is enough.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def _watch(child: int, parent: int, lifeline: int, wakeup: int) -> NoReturn:
    while True:
        ready, _, _ = select.select([lifeline, wakeup], [], [], PARENT_SECONDS)
        if lifeline in ready or os.getppid() != parent:
            sweep(child)
            os._exit(EXEC_FAILED)
        if wakeup not in ready:
            continue
        for number in os.read(wakeup, 64):
            if number in FORWARDED:
                os.kill(child, number)
        status = _reap(child)
        if status is not None:
            sweep(child)
            _end_as(status)


def _reap(child: int) -> int | None:
    """Collect all that ended, inherited descendants too; the status of the child if it did."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid == 0:
            return None


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A Python handler must exist for the wakeup descriptor to be written."""


def main(arguments: list[str]) -> NoReturn:
    """Guard the command, or become it when there is no lifeline."""
    options = Options(arguments)
    if options.lifeline is None:
        if options.go is not None and not os.read(options.go, 1):
            os._exit(EXEC_FAILED)
        _exec(options, None)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wakeup, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, _ignore)
    # A parent that has one of them blocked hands that on, through exec too: we would be deaf to it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*FORWARDED, signal.SIGCHLD))
    child = _spawn(options)
    _say(options.report, f"pid {child}")
    if options.report is not None:
        os.close(options.report)
    _watch(child, options.parent, options.lifeline, wakeup)


if __name__ == "__main__":
    main(sys.argv[1:])
