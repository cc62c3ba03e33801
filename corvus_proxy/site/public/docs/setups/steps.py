"""What a set-up is made of, and the steps that several have."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from corvus_proxy.site.public.page import KEY

Kind = Literal["run", "installs", "opens", "by hand"]
"""What a step does: `run` works in any shell with a key; `installs` puts software in place, `opens`
starts what waits for a person."""
VARIABLE = "CORVUS_API_KEY"
"""The environment variable that examples keep the key in."""


class Step(NamedTuple):
    """One thing to do."""

    what: str
    """A sentence, in Markdown."""
    posix: str = ""
    powershell: str = ""
    kind: Kind = "run"
    program: str = ""
    """The program that has to be installed for it, of those that are `run`."""
    file: str = ""
    """The path of a file to write, where that is the step, and …"""
    content: str = ""
    """… what stands in it."""
    language: str = ""

    @property
    def same(self) -> bool:
        """Whether both shells take the same words."""
        return bool(self.posix) and self.posix == self.powershell


class Setup(NamedTuple):
    """How one client is pointed at the gateway."""

    key: str
    """The end of its page's path."""
    name: str
    first_class: bool
    style: Literal["openai", "anthropic"]
    base_url: str
    paths: tuple[str, ...]
    """What it calls."""
    families: tuple[str, ...]
    """The families that it fits best; it takes every model that is sold."""
    source: str
    """The client's own documentation."""
    install: Step
    check: Step
    """That it is installed."""
    configure: tuple[Step, ...]
    verify: tuple[Step, ...]
    notes: tuple[str, ...]
    tested: str = ""
    """Package and version."""
    condition: str = ""
    """Of a conditional one: what it depends on."""

    @property
    def path(self) -> str:
        """Of its page."""
        return f"/docs/clients/{self.key}"

    @property
    def with_v1(self) -> bool:
        """Whether its base URL ends in /v1."""
        return self.base_url.endswith("/v1")


class At(NamedTuple):
    """Where, and with which models, set-ups are shown."""

    api: str
    api_v1: str
    claude: str
    gpt: str


def npm(package: str, program: str) -> tuple[Step, Step]:
    """Installing a package of Node.js, and the check that it is there."""
    words = f"npm install -g {package}"
    shown = f"{program} --version"
    return (
        Step("With Node.js 22 or newer, in either shell:", words, words, "installs"),
        Step("It is there when this prints a version:", shown, shown, "run", program),
    )


def pip(package: str, module: str) -> tuple[Step, Step]:
    """Installing a package of Python, and the check that it is there."""
    words = f"-m pip install {package}"
    told = f'-c "import {module}; print({module}.__version__)"'
    return (
        Step(
            "With Python 3.10 or newer:", f"python3 {words}", f"py {words}", "installs"
        ),
        Step("It is there when this prints a version:", f"python3 {told}", f"py {told}", "run",
             "python3"),
    )  # fmt: skip


def models(where: At, variable: str = VARIABLE) -> Step:
    """The check of key and base URL that needs no client."""
    return Step(
        "Without the client: key and base URL are right when this lists models. It costs nothing.",
        f"curl -sS --fail-with-body {where.api_v1}/models \\\n"
        f'  -H "Authorization: Bearer ${variable}"',
        f'(Invoke-RestMethod "{where.api_v1}/models" `\n'
        f'  -Headers @{{ Authorization = "Bearer $env:{variable}" }}).data.id',
    )


def variables(what: str, values: Mapping[str, str]) -> Step:
    """Environment variables for the shell that starts the client."""
    return Step(
        what,
        "\n".join(f"export {name}={value}" for name, value in values.items()),
        "\n".join(f'$env:{name} = "{value}"' for name, value in values.items()),
    )


KEY_STEP = variables("Keep the key in the shell:", {VARIABLE: KEY})


def file(what: str, folder: str, name: str, content: str, language: str) -> Step:
    """A file below the home folder that is written where there is none."""
    windows = folder.replace("/", "\\")
    return Step(
        what,
        f"mkdir -p ~/{folder}\n[ -e ~/{folder}/{name} ] || cat > ~/{folder}/{name} <<'EOF'\n"
        f"{content}EOF",
        f'New-Item -ItemType Directory -Force "$HOME\\{windows}" | Out-Null\n'
        f"if (-not (Test-Path \"$HOME\\{windows}\\{name}\")) {{\n@'\n{content}'@ |"
        f' Set-Content -Encoding ascii "$HOME\\{windows}\\{name}" }}',
        file=f"~/{folder}/{name}",
        content=content,
        language=language,
    )


def chat(where: At, slug: str) -> Step:
    """The smallest answer, as a client in OpenAI's dialect asks for it."""
    body = (
        f'{{"model":"{slug}","max_tokens":16,'
        '"messages":[{"role":"user","content":"Say hello."}]}'
    )
    return Step(
        "The same call as the client makes, for a fraction of a cent:",
        f"curl -sS --fail-with-body {where.api_v1}/chat/completions \\\n"
        f'  -H "Authorization: Bearer ${VARIABLE}" -H "Content-Type: application/json" \\\n'
        f"  -d '{body}'",
        f"'{body}' |\n  Invoke-RestMethod \"{where.api_v1}/chat/completions\" -Method Post `\n"
        '  -ContentType "application/json" `\n'
        f'  -Headers @{{ Authorization = "Bearer $env:{VARIABLE}" }}',
    )
