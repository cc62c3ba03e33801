"""`corvus up` in front of a terminal or behind it, and `corvus down`."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from corvus_proxy.errors import ConfigurationError, CorvusError
from corvus_proxy.ops import pricelist
from corvus_proxy.ops.launcher import Options, Stack
from corvus_proxy.ops.state import State

DOWN_S = 700


def run(options: Options) -> None:
    """Starts everything, prints where it is, and stays until Ctrl-C."""
    stack = Stack(options)
    # A signal during the start ends it as it ends the rest: children first.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stack.interrupt)
    try:
        stack.start()
        _write(message(stack))
        stack.watch()
    except KeyboardInterrupt:
        pass
    finally:
        _second_signal_kills(stack)
        if stack.children:  # else nothing of ours has started
            _write("stopping; running streams may end first (Ctrl-C again cuts them)\n")
        stack.stop()
    _write("corvus has stopped.\n")


def detach(options: Options) -> None:
    """Starts everything behind the terminal; returns when all are ready."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.setsid()
        if os.fork():
            os._exit(0)
        _detached(options, writing)
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        word, _, text = pipe.read().partition("\n")
    if word != "ready":
        raise CorvusError(text.strip() or "it ended while it was starting")
    _write(text)


def _detached(options: Options, writing: int) -> None:
    """The launcher without a terminal: holds no descriptor of the one who started it."""
    options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(options.state / "launcher.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    pipe = os.fdopen(os.dup2(writing, 3, inheritable=False), "w")
    os.closerange(4, 4096)
    stack = Stack(options)
    try:
        try:
            stack.start()
        except (CorvusError, OSError) as error:
            pipe.write(f"failed\n{error}\n")
            return
        pipe.write(f"ready\n{message(stack)}")
        pipe.close()
        stack.watch()
    except KeyboardInterrupt:
        pass
    except CorvusError as error:
        sys.stderr.write(f"{error}\n")
    finally:
        _second_signal_kills(stack)
        stack.stop()
        with contextlib.suppress(OSError):
            pipe.close()


def down(state: State) -> None:
    """Stops the stack of a state folder and waits for its last process."""
    running = state.read()
    if not running:
        raise ConfigurationError(f"nothing runs from {state.folder}")
    pids = running["pids"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pids["launcher"], signal.SIGTERM)
    deadline = time.monotonic() + DOWN_S
    while any(_lives(pid) for pid in pids.values()):
        if time.monotonic() > deadline:
            raise CorvusError(f"still running: {[pid for pid in pids.values() if _lives(pid)]}")
        time.sleep(0.02)
    state.up.unlink(missing_ok=True)
    _write("corvus has stopped.\n")


def _lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return not Path("/proc").exists()
    return text.rpartition(")")[2].split()[0] != "Z"


def _second_signal_kills(stack: Stack) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stack.cut_streams())


def _write(text: str) -> None:
    """Prints; a reader that has gone must not keep us from stopping."""
    with contextlib.suppress(BrokenPipeError, OSError):
        sys.stdout.write(text)
        sys.stdout.flush()


def message(stack: Stack) -> str:
    """What `up` prints: addresses, key, and a first request in each dialect."""
    found = stack.summary()
    lines = [
        "",
        "corvus is up.",
        "",
        f"  API       {found['api']}    (OpenAI-style base URL: {found['api']}/v1)",
        f"  site      {found['site']}",
        f"  console   {found['console']}",
        f"  health    {found['status']}/readyz",
        f"  state     {found['state']}",
    ]
    if "payments" in found:
        lines.insert(-1, f"  payments  {found['payments']}    (simulated; buy at {found['site']})")
    if "mail" in found:
        lines.insert(-1, f"  mail      {found['mail']}    (simulated; what the service sends)")
    lines += pricelist.summary(stack.settings)
    if found["data"] != found["state"]:
        lines.append(f"  Postgres  {found['data']}")
    if stack.demo_key:
        key = stack.demo_key
        lines += [
            "",
            f"  demo key  {key}",
            "            5.00 USD of simulated money at its first start",
            "",
            "OpenAI dialect:",
            "",
            f"  curl -N {found['api']}/v1/chat/completions \\",
            f"    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\",
            """    -d '{"model":"gpt-5.5","stream":true,"messages":"""
            """[{"role":"user","content":"Hello"}]}'""",
            "",
            "Anthropic dialect:",
            "",
            f"  curl -N {found['api']}/v1/messages -H 'x-api-key: {key}' \\",
            "    -H 'anthropic-version: 2023-06-01' -H 'Content-Type: application/json' \\",
            """    -d '{"model":"claude-opus-5-5","max_tokens":64,"stream":true,"messages":"""
            """[{"role":"user","content":"Hello"}]}'""",
        ]
    lines += ["", "Ctrl-C stops everything." if sys.stdout.isatty() else "", ""]
    return "\n".join(lines)
