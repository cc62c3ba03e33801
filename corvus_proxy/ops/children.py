"""Starting child processes so that none outlives its parent, and Postgres also as root."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from corvus_proxy.roles.parent import die_with_parent

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER = 0x10000000
NOBODY_UID = 65534


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without what would lead a database server astray."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "LD_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "LC_ALL": "C.UTF-8", **(extra or {})}


def enter_user_namespace(number: int) -> None:
    """In the child: becomes the one user of a new namespace, so that Postgres sees no root.

    Files stay root's. PDEATHSIG comes after it: a change of credentials clears it.
    """
    uid, gid = os.geteuid(), os.getegid()
    if _LIBC.unshare(_CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY_UID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY_UID} {gid} 1")
    die_with_parent(number)


def become_nobody(number: int) -> Callable[[], None]:
    """For a child: drops root for the user nobody."""
    entry = pwd.getpwnam("nobody")

    def drop() -> None:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        die_with_parent(number)

    return drop


def user_namespaces_work() -> bool:
    """Whether root may make a user namespace here (containers often forbid it)."""
    if os.environ.get("CORVUS_NO_USERNS") == "1":
        return False
    pid = os.fork()
    if pid == 0:
        try:
            enter_user_namespace(signal.SIGKILL)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def start(
    command: list[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
    cwd: Path | None = None,
    keep: int | None = None,
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, whose output goes to `log` and which dies with us.

    `keep` is the one descriptor that it inherits: a lock that lasts until it has ended too.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=cwd,
            env=dict(environment or child_environment()),
            start_new_session=True,
            pass_fds=() if keep is None else (keep,),
            preexec_fn=prepare or die_with_parent,
        )


def end(child: subprocess.Popen[bytes], number: int, *, timeout_s: float) -> None:
    """Signals a child and waits; kills it, and all of its session, when it does not go."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def wait_for(ready: Callable[[], bool], child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Polls until `ready`, the child ends, or time is up."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if ready():
            return True
        if child.poll() is not None:
            return False
        time.sleep(0.01)
    return False
