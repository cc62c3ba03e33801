"""Every command and program of the public pages that can run is run, in the order of its page.

A block says behind its fence whether it runs (`sh run`), which client has to be installed for that
(`sh run codex`), or why it does not: one of the words of `WHY_NOT`. The pages are read from the
running site, so the addresses and models are those that a reader would paste.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.settings import Settings
from corvus_proxy.site import public
from corvus_proxy.site.public.page import KEY
from tests.clients import installed, table
from tests.clients.sandbox import NOWHERE
from tests.stack import RunningStack

WHY_NOT = {
    "installs": "it would put software on this machine",
    "opens": "it starts what waits for a person",
    "elsewhere": "tests/clients runs the same calls by the same package",
}
"""Words behind a fence that say why a block does not run, and what they stand for."""
RUNNABLE = ("sh", "python", "js")
EVERY = public.pages(book.load(Settings().pricing).models)
PAGES = tuple({page.id if page.listed else page.source: page for page in reversed(EVERY)}.values())
"""Of many alike, which no list has, the first."""
PROGRAMS = {
    "claude": table.CLAUDE_CODE,
    "codex": table.CODEX,
    "opencode": table.OPENCODE,
}
"""Clients that blocks need beside a shell, curl and Python."""
_SDK = re.compile(r"^(?:from|import) (?:openai|anthropic)\b", re.MULTILINE)
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    words: tuple[str, ...]
    text: str

    @property
    def runs(self) -> bool:
        return self.words[:1] == ("run",)

    @property
    def sets(self) -> bool:
        """It keeps something in the shell for the blocks behind it."""
        return "export " in self.text

    @property
    def program(self) -> str:
        """The client that it needs."""
        return "".join(self.words[1:2])

    @property
    def is_slow(self) -> bool:
        """It loads a vendor's package, which takes seconds, or needs a client."""
        return bool(self.program) or (self.language == "python" and bool(_SDK.search(self.text)))


def blocks(stack: RunningStack, path: str) -> list[Block]:
    """The blocks of a page of the running site."""
    twin = "/index.md" if path == "/" else f"{path}.md"
    answer = httpx.get(f"{stack.facts['site']}{twin}", timeout=20, trust_env=False)
    assert answer.status_code == 200, path
    return [
        Block(language, tuple(words.split()), text)
        for language, words, text in _FENCE.findall(answer.text)
    ]


def script(found: list[Block], key: str) -> str:
    """Blocks as one program of the shell, in their order, so that what one sets the next has."""
    lines = ["set -eu"]
    for number, block in enumerate(found):
        text = block.text.replace(KEY, key)
        lines.append(f"echo '== block {number}' >&2")
        if block.language == "python":
            lines += [f"python3 - <<'END_OF_{number}'", text, f"END_OF_{number}"]
        else:
            lines.append(text)
    return "\n".join(lines)


def run(text: str, home: Path, *folders: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of bash as on a machine of its own."""
    home.mkdir(parents=True)
    (home / "page.sh").write_text(text)
    environment = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": os.pathsep.join(
            [*folders, str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
        ),
        "LANG": "C.UTF-8",
        "CI": "1",
        "TERM": "dumb",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    }
    return subprocess.run(
        ["bash", str(home / "page.sh")],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def need(program: str, line: str) -> None:
    """Skips with the line that installs what is missing."""
    if shutil.which(program) is None:
        pytest.skip(line)


def test_what_a_page_offers_to_paste_works(stack: RunningStack, tmp_path: Path) -> None:
    """All that needs a shell, curl and Python alone; every other block says why it does not run."""
    need("curl", "apt-get install -y curl")
    secret = stack.new_key("20")["secret"]
    problems = []
    seen: set[str] = set()
    for page in PAGES:
        found = blocks(stack, page.path)
        for block in found:
            if block.language in RUNNABLE and not block.runs and set(block.words) - set(WHY_NOT):
                problems.append(f"{page.path}: {block.words}: neither run nor why not")
            if block.language in RUNNABLE and not block.words:
                problems.append(f"{page.path}: {block.text[:60]!r}: neither run nor why not")
        quick = [block for block in found if block.runs and not block.is_slow]
        # What another page has offered before was run there.
        fresh = [one for one in quick if one.sets or one.text not in seen]
        seen |= {one.text for one in fresh}
        if any(not one.sets for one in fresh):
            done = run(script(fresh, secret), tmp_path / page.id)
            if done.returncode:
                problems.append(f"{page.path}: {done.stdout[-800:]}{done.stderr[-800:]}")
    assert "\n".join(problems) == ""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.id)
def test_programs_with_the_vendors_packages_work(
    page: public.Page, stack: RunningStack, tmp_path: Path
) -> None:
    """Whole pages with their Python; those that have none by a vendor's package have been run."""
    need("curl", "apt-get install -y curl")
    found = [one for one in blocks(stack, page.path) if one.runs and not one.program]
    if any(one.is_slow for one in found):
        done = run(script(found, stack.new_key("20")["secret"]), tmp_path / page.id)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "program"),
    [
        ("/docs/clients/claude-code", "claude"),
        ("/docs/clients/codex-cli", "codex"),
        ("/docs/clients/opencode", "opencode"),
    ],
)
def test_a_client_works_as_its_page_says(
    path: str, program: str, stack: RunningStack, tmp_path: Path
) -> None:
    """Configured by the page's own commands and asked by its own words, the real client answers,
    and the key has paid."""
    folder = installed.program(PROGRAMS[program], program).parent
    key = stack.new_key("20")
    found = [one for one in blocks(stack, path) if one.runs and one.language == "sh"]
    assert {one.program for one in found} == {"", program}
    done = run(
        script(found, key["secret"]), tmp_path / "home", str(folder), str(installed.node().parent)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.settled(key["key_id"])["balance_nanos"] < 20 * 10**9


@pytest.mark.slow
def test_powershell_forms_can_be_read(stack: RunningStack, tmp_path: Path) -> None:
    """By PowerShell's own parser."""
    need("pwsh", "dotnet tool install --global PowerShell")
    for page in PAGES:
        for number, block in enumerate(blocks(stack, page.path)):
            if block.language == "powershell":
                file = tmp_path / f"{page.id}-{number}.ps1"
                file.write_text(block.text)
                parse = (
                    "$problems = $null; [void][System.Management.Automation.Language.Parser]::"
                    f"ParseFile('{file}', [ref]$null, [ref]$problems);"
                    " $problems; exit $problems.Count"
                )
                done = subprocess.run(
                    ["pwsh", "-NoProfile", "-Command", parse],
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
                assert done.returncode == 0, f"{page.path}: {block.text}{done.stdout}"
