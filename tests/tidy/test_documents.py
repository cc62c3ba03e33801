"""Documents say what the tables in the code say."""

import ast
import inspect
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

from corvus_proxy import errors, metrics, settings
from corvus_proxy.account.opened import handlers
from corvus_proxy.account.orders import CODES
from corvus_proxy.account.routes import ENDPOINTS, LIGHT
from corvus_proxy.catalogue import lint
from corvus_proxy.money.flags import FLAGS
from corvus_proxy.money.outcome import RULES, Outcome
from corvus_proxy.money.usage import COUNTS
from corvus_proxy.settings import reference
from corvus_proxy.shop.states import STATES, STEPS
from corvus_proxy.upstream.pool_standing import ACTIONS, State
from corvus_proxy.wire import encoding, headers, refusal, verdict
from corvus_proxy.wire.dialect import COUNTING, PATHS, Dialect
from corvus_proxy.wire.openai import responses
from corvus_proxy.wire.tenancy.fields import TABLE
from corvus_proxy.wire.verdict import Blame
from tests import commands

ROOT = Path(__file__).parents[2]


def test_configuration_reference_is_current() -> None:
    """`python -m corvus_proxy.settings > docs/configuration.md`."""
    assert (ROOT / "docs" / "configuration.md").read_text() == reference.reference()


def test_example_configuration_is_current_and_loads() -> None:
    """`python -m corvus_proxy.settings example > config/corvus.example.toml`."""
    path = ROOT / "config" / "corvus.example.toml"
    assert path.read_text() == reference.example()
    assert settings.load(path, {}) == settings.Settings()


def test_example_price_book_loads_and_names_every_field() -> None:
    """`config/models.example.toml` shows each field of a row, and nothing dearer than official."""
    path = ROOT / "config" / "models.example.toml"
    pricing = settings.PricingSettings(book=str(path))
    assert lint.problems(pricing, date(2026, 11, 26)) == []
    shipped = (ROOT / "corvus_proxy" / "catalogue" / "models.toml").read_text()
    fields = set(re.findall(r"^(\w+) =", shipped, re.MULTILINE)) - {"embeddings"}
    assert fields <= set(re.findall(r"^(\w+) =", path.read_text(), re.MULTILINE))


def rows(document: str) -> list[str]:
    """The rows of a document's tables."""
    text = (ROOT / "docs" / document).read_text()
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_every_endpoint_and_tool_of_the_dialects_is_told() -> None:
    """`docs/dialects.md` has a row for each, and none for what is not there."""
    found = [line.split(" | ") for line in rows("dialects.md")]
    told = {cells[0].strip("| `"): cells[1] for cells in found if "POST" in cells[0]}
    served = {**PATHS, **COUNTING}
    assert told == {f"POST {path}": dialect.value for path, dialect in served.items()}
    tools = [cells[0].strip("| `") for cells in found if "POST" not in cells[0]]
    assert tools == [*responses.SERVED_TOOLS, *responses.REMOVABLE_TOOLS]


def test_every_member_header_and_encoding_is_told() -> None:
    """The tables of docs/tenancy.md are the ones in the code."""
    expected = []
    for dialect, table in TABLE.items():
        for one in table:
            served = ", ".join(f"`{value.decode()}`" for value in one.served) or "–"
            expected.append(
                f"| `{one.member}` | {dialect.value} | {one.deed.value} | {served} | {one.why} |"
            )
    up, down = sorted(headers.PASSED_UP), sorted(headers.PASSED_DOWN)
    expected += [f"| `{name.decode()}` | to the upstream |" for name in up]
    expected += [f"| `{name.decode()}…` | to the upstream |" for name in headers.PASSED_UP_PREFIXES]
    expected += [f"| `{name.decode()}` | to the client |" for name in down]
    for theirs, ours in headers.RENAMED_DOWN.items():
        expected.append(f"| `{theirs.decode()}` | to the client, as `{ours.decode()}` |")
    expected += [f"| `{name}…` | {what} |" for name, what in headers.DROPPED_BETAS.items()]
    assert rows("tenancy.md") == expected
    text = (ROOT / "docs" / "tenancy.md").read_text()
    assert ", ".join(f"`{name}`" for name in encoding.ENCODINGS) in text


def test_every_code_and_status_of_a_provider_is_told() -> None:
    """The tables of docs/providers.md are the ones in the code."""
    told: dict[tuple[str, str], verdict.Blame] = {}
    statuses: dict[int, verdict.Blame] = {}
    read = set()
    for line in (ROOT / "docs" / "providers.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if line.startswith("|") and cells[0] in verdict.CODES:
            for code in cells[2].split(", "):
                told[cells[0], code.strip("`")] = verdict.Blame(cells[1])
        elif re.match(r"\| \d{3}", line):
            statuses |= {int(status): verdict.Blame(cells[1]) for status in cells[0].split(", ")}
        elif line.startswith("|") and cells[0] in list(verdict.Blame):
            read.add(cells[0])
    assert told == {
        (family, code): blame
        for family, codes in verdict.CODES.items()
        for code, blame in codes.items()
        if family != "glm" or code.isdigit()
    }
    assert statuses == verdict.STATUSES
    assert read == set(verdict.Blame)


def test_every_metric_is_ours_by_name_and_told() -> None:
    """Each metric begins with `corvus_`, says what it counts, and has its row in the document."""
    found: list[Any] = [one for one in vars(metrics).values() if hasattr(one, "_documentation")]
    expected = []
    for one in found:
        assert one._name.startswith("corvus_")
        assert one._documentation.endswith(".")
        name = one._name + ("_total" if one._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in one._labelnames) or "–"
        expected.append(f"| `{name}` | {one._type} | {labels} | {one._documentation} |")
    assert rows("metrics.md") == expected
    classes = (ROOT / "docs" / "metrics.md").read_text()
    assert all(f"`{name}`" in classes for name in COUNTS)


def kinds(kind: type[errors.RequestError]) -> list[type[errors.RequestError]]:
    """The classes of the error tree below one, as the tree lists them."""
    below = [leaf for found in kind.__subclasses__() for leaf in kinds(found)]
    return [one for one in [kind, *below] if one.__module__ == errors.__name__]


def test_every_error_code_has_its_row() -> None:
    """Code, statuses, types and whether to retry; `Refusal` itself is never answered."""
    expected = []
    for kind in kinds(errors.RequestError):
        if kind is errors.Refusal:
            continue
        error, statuses, types = kind("Text."), [], []
        for dialect in (Dialect.CHAT, Dialect.MESSAGES):
            statuses.append(str(refusal.status(dialect, error)))
            types.append(json.loads(refusal.body(dialect, error, "r", "s"))["error"]["type"])
        told = " / ".join(dict.fromkeys(statuses))
        retry = "yes" if kind.retry else "no"
        expected.append(f"| `{kind.code}` | {told} | `{types[0]}` | `{types[1]}` | {retry} | ")
    found = rows("errors.md")
    assert len(found) == len(expected)
    for row, start in zip(found, expected, strict=True):
        assert row.startswith(start)


def test_the_error_trees_drawing_shows_every_class() -> None:
    """The tree at the top of `errors.py`, each class with its status."""
    drawn = dict(re.findall(r"─ (\w+) +(\dxx|\d{3})", errors.__doc__ or ""))
    for kind in kinds(errors.RequestError)[1:]:
        if kind not in (errors.Refusal, errors.UpstreamFault):
            assert drawn[kind.__name__] in (str(kind.status), "4xx"), kind


def words_of(path: str, *functions: str) -> set[str]:
    """The words in snake case that functions of a module spell out, f-strings left out."""
    tree = ast.parse((ROOT / "corvus_proxy" / path).read_text())
    found = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and (
            function.name in functions
        ):
            formatted = [node for node in ast.walk(function) if isinstance(node, ast.JoinedStr)]
            parts = {part for node in formatted for part in ast.walk(node)}
            found |= {
                node.value
                for node in ast.walk(function)
                if isinstance(node, ast.Constant)
                and node not in parts
                and isinstance(node.value, str)
                and re.fullmatch(r"[a-z]+(_[a-z]+)*", node.value)
            }
    return found


def test_every_outcome_has_its_row() -> None:
    """Code, what is charged, from which figure, who bears the rest, what the client reads."""
    assert list(RULES) == list(Outcome)
    expected = [f"| `{code}` | {' | '.join(rule)} |" for code, rule in RULES.items()]
    assert [row for row in rows("money.md") if row.count("|") == 6] == expected


def test_what_a_failure_does_to_a_credential_is_told() -> None:
    """The tables of verdicts and of states in docs/pools.md are those in the code."""
    expected = []
    for blame, action in ACTIONS.items():
        again = "yes" if action.again else "no"
        state = f"`{action.state}`" if action.state else "–"
        after = "one" if action.at_once else "`pool.strikes` in a row"
        cells = [again, state, after if action.state else "–", action.meaning]
        expected.append(f"| `{blame}` | {' | '.join(cells)} |")
    found = rows("pools.md")
    assert [row for row in found if row.count("|") == 6] == expected
    told = [row.split("`")[1] for row in found if row.count("|") == 3]
    assert list(ACTIONS) == list(Blame)
    assert told == list(State)


def test_every_source_is_told() -> None:
    """How sure a charge is, as the ending and the checkpoint spell it."""
    text = (ROOT / "docs" / "money.md").read_text()
    spelled = words_of("gateway/ending.py", "conclude", "_free", "_metered")
    spelled |= words_of("gateway/streaming/relay.py", "checkpoint")
    assert spelled == {"upstream", "counted", "estimated", "checkpoint"}
    assert [word for word in sorted(spelled) if f"`{word}`" not in text] == []


def test_every_flag_is_told_and_used() -> None:
    """The table of flags in docs/money.md is the one in the code; no other flag is spelled."""
    assert [row for row in rows("money.md") if row.count("|") == 3] == [
        f"| `{flag}` | {meaning} |" for flag, meaning in FLAGS.items()
    ]
    source = "".join(
        path.read_text()
        for path in (ROOT / "corvus_proxy").rglob("*.py")
        if path.name != "flags.py"
    )
    assert [flag for flag in FLAGS if f'"{flag}"' not in source] == []


def test_every_account_endpoint_has_its_row_and_its_answer() -> None:
    """Method, path, parameters, what it needs, who may ask; and one handler for each."""
    expected = []
    for row in ENDPOINTS:
        params = ", ".join(f"`{name}`" for name in row.params) or "–"
        frozen = "yes" if row.frozen else "no"
        expected.append(
            f"| `{row.method} {row.path}` | {params} | {row.needs} | {frozen} | {row.what} |"
        )
    assert rows("api.md") == expected
    light = {(row.method, row.path) for row in ENDPOINTS if row.needs == "Redis"}
    assert {(row.method, row.path) for row in ENDPOINTS} - light == set(
        handlers(settings.Settings())
    )
    assert {path for _, path in light} == set(LIGHT)


def test_links_between_documents_exist() -> None:
    """Every relative link of the Markdown files leads somewhere."""
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "bench").glob("*.md"),
    ]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_state_step_and_refusal_of_orders_is_told() -> None:
    """The tables of docs/orders.md are the ones in the code."""
    found = [row for row in rows("orders.md") if "corvus orders" not in row]
    states = [
        f"| `{status}` | {f'`{exception}`' if exception else '–'} | {meaning} |"
        for (status, exception), meaning in STATES.items()
    ]
    steps = [f"| `{step}` | {meaning} |" for step, meaning in STEPS.items()]
    codes = [f"| `{code}` | {status} | {told} |" for code, (status, told) in CODES.items()]
    assert [row for row in found if row in states] == states
    assert [row for row in found if row in steps] == steps
    assert [row for row in found if row in codes] == codes
    assert len(found) == len(states) + len(steps) + len(codes)


def test_every_step_that_is_written_is_in_the_table() -> None:
    """Steps are words in calls of `add_step`; those of a state are the state's name."""
    spelled: set[str] = set()
    for path in (ROOT / "corvus_proxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_step"):
                step = node.args[2]
                if isinstance(step, ast.Constant):
                    spelled.add(str(step.value))
    states = {status for status, _ in STATES}
    moves = {f"refund_{state}" for state in ("approved", "sent", "refused")}
    assert spelled | states | moves == set(STEPS)


def test_every_command_is_told_and_has_help() -> None:
    """The table of docs/commands.md is the command line's own tree."""
    expected = commands.rows()
    for row in expected:
        words, what, _ = (cell.strip() for cell in row.strip("|").split(" | "))
        assert what.endswith("."), f"{words} has no help"
    assert rows("commands.md") == expected


def test_every_argument_of_a_command_has_help() -> None:
    """`--help` says of each what it is. `name: text` in a docstring would be a name and a type."""
    for words, app in commands.tree():
        text = inspect.getdoc(app.default_command) or ""
        for line in text.partition("----------\n")[2].splitlines():
            assert line.startswith("    ") or line.isidentifier(), f"{words}: {line}"
        for argument in app.assemble_argument_collection(parse_docstring=True):
            if argument.parameter.show is not False and argument.name != "*":
                assert (argument.parameter.help or "").endswith("."), f"{words} {argument.name}"


def test_help_says_whose_eyes_a_reason_meets() -> None:
    """An operator has to know before he writes: these go out by mail, page or statement."""
    buyer = {
        "orders cancel", "orders credit", "orders refund", "refunds refuse", "refunds request",
        "sales pause",
    }  # fmt: skip
    customer = {"keys create", "keys credit", "keys debit"}
    for words, app in commands.tree():
        for argument in app.assemble_argument_collection(parse_docstring=True):
            if argument.name == "--reason":
                text = argument.parameter.help
                assert ("buyer" in text) == (words in buyer), words
                assert ("customer" in text) == (words in customer), words


def test_what_changes_something_can_be_tried_first() -> None:
    """Every command of the desk either only reads or has `--dry-run`."""
    reads = {
        "check", "code", "diff", "doctor", "explain", "export", "find", "lint", "list", "nodes",
        "outbox", "publish", "quote", "show", "tail", "test", "tracker", "verify",
    }  # fmt: skip
    nouns = {"audit", "keys", "mail", "models", "operators", "orders", "pools", "refunds", "sales"}
    for words, app in commands.tree():
        noun, _, verb = words.partition(" ")
        named = set(inspect.signature(app.default_command).parameters)
        if noun in nouns and verb not in reads:
            assert "deed" in named, words
