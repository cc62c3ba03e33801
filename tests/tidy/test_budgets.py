"""Budgets of the source: sizes, words, and who may touch what."""

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "corvus_proxy"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
ADAPTER_LINES_MAX = 150
FILES_MAX = 10
PARAMETERS_MAX = 8
SUFFIXES = {
    "", ".c", ".cff", ".conf", ".css", ".h", ".html", ".js", ".json", ".lock", ".lua", ".md",
    ".pxd", ".py", ".pyi", ".pyx", ".sql", ".svg", ".toml", ".png", ".txt", ".yaml", ".yml",
    ".typed",
}  # fmt: skip
BROAD_EXCEPT = {
    "dev/http.py", "gateway/front/app.py", "gateway/front/lifespan.py",
    "gateway/streaming/ticker.py",
    "ledger/coordinator.py",
    "ledger/writer.py",
    "roles/reloading.py", "roles/worker.py", "shop/services/stripe.py",
    "till/holds.py", "till/recovery/report.py",
}  # fmt: skip
ENVIRONMENT = {
    "clock.py",
    "settings/__init__.py",
    "settings/secrets.py",
    "ops/children.py",
    "ops/embedded/__init__.py",
    "ops/commands/common.py",
    "ops/commands/stack.py",
    "ops/container/health.py",
}
BANNED = {
    r"\bTO" + r"DO\b": "do it, or leave it out",
    r"\bFIX" + r"ME\b": "fix it",
    r"\bpre-?auth\b": "hold",
    r"\breservations?\b": "hold",
    r"\bdownstream\b": "client",
    r"\bbackend\b": "upstream",
}


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room(path: Path) -> str:
    """The package, or the module, that a file belongs to."""
    return ids(path).partition("/")[0]


ROOMS = sorted({room(path) for path in SOURCES})
MONEY = ("money", "till", "books", "shop")


def sources(name: str) -> list[Path]:
    return [path for path in SOURCES if room(path) == name]


@pytest.mark.parametrize("name", ROOMS)
def test_source_keeps_its_budgets(name: str) -> None:
    """Functions, modules, parameters, docstrings, forbidden words."""
    for path in sources(name):
        keeps_its_budgets(path)


def keeps_its_budgets(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    if text.strip():
        assert ast.get_docstring(tree), "a module opens with what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= FUNCTION_LINES_MAX, f"{node.name} has {size} lines"
            count = len(node.args.args) + len(node.args.kwonlyargs)
            public_cli = path.parent.name == "commands"
            assert count <= PARAMETERS_MAX + 1 or public_cli, f"{node.name}: {count} parameters"
    for pattern, instead in BANNED.items():
        found = re.search(pattern, text, re.IGNORECASE)
        assert not found, f"{found[0] if found else ''}: {instead}"


def test_the_servers_adapter_stays_thin() -> None:
    """What would be written anew for another server is little."""
    lines = (PACKAGE / "gateway/front/asgi.py").read_text().splitlines()
    assert len(lines) < ADAPTER_LINES_MAX


def test_packages_stay_small() -> None:
    """A package has at most ten modules."""
    counts = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert {ids(folder): n for folder, n in counts.items() if n > FILES_MAX} == {}


def calls(tree: ast.AST) -> set[str]:
    """Dotted names that are called or read."""
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("name", ROOMS)
def test_only_the_named_modules_touch_environment_time_and_chance(name: str) -> None:
    """Environment in settings, time and randomness in clock; starting servers is the exception."""
    for path in sources(name):
        touches_what_it_may(path)


def touches_what_it_may(path: Path) -> None:
    name = ids(path)
    used = calls(ast.parse(path.read_text()))
    if name not in ENVIRONMENT:
        assert not {"os.environ", "os.getenv"} & used
    if not name.startswith(("ops/", "dev/", "clock")):
        assert not {"time.time", "time.monotonic", "time.time_ns", "datetime.now"} & (
            used - {"datetime.now"} if name == "books/entries.py" else used
        )
        assert "import random" not in path.read_text()
        assert "import uuid" not in path.read_text()


@pytest.mark.parametrize("name", ROOMS)
def test_broad_excepts_stand_where_a_loop_must_survive(name: str) -> None:
    """`except Exception` only in the named files."""
    for path in sources(name):
        catches_what_it_may(path)


def catches_what_it_may(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception",)
            assert not broad or ids(path) in BROAD_EXCEPT


@pytest.mark.parametrize("name", MONEY)
def test_money_has_no_float(name: str) -> None:
    """No float conversion and no division where amounts are handled; seconds are no amounts."""
    for path in sources(name):
        has_no_float(path)


def has_no_float(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) != "float"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            text = ast.unparse(node)
            assert re.search(r"_m?s\b|folder|files\(", text, re.IGNORECASE), text


def test_tracked_files_are_of_known_kinds() -> None:
    """No database, log or archive slips in; nothing is larger than half a megabyte."""
    if not (ROOT / ".git").exists():
        return
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.exists():
            assert path.suffix in SUFFIXES or path.name.startswith("."), name
            assert path.stat().st_size < 512 * 1024, name
