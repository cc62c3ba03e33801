"""`docs/configuration.md` and `config/corvus.example.toml`, written from the options' own text."""

import ast
import inspect
from typing import cast

import msgspec

from corvus_proxy.settings import PLAIN_SECTIONS, Credential, Settings, Upstream, struct_of


def _rows(kind: type[msgspec.Struct]) -> list[tuple[str, str, object, str]]:
    """Name, type, default and reason of each option, the reasons read from this file's own text."""
    body = cast(ast.ClassDef, ast.parse(inspect.getsource(kind)).body[0])
    rows = []
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for item, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            reason = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                reason = " ".join(str(after.value.value).split())
            field = fields[item.target.id]
            default = field.default
            if default is msgspec.NODEFAULT:
                made = field.default_factory
                default = None if made is msgspec.NODEFAULT else made()
            rows.append((item.target.id, ast.unparse(item.annotation), default, reason))
    return rows


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "{}" if value == {} else msgspec.json.encode(value).decode()


def reference() -> str:
    """`docs/configuration.md`."""
    out = [
        "# Configuration",
        "",
        "Written by `python -m corvus_proxy.settings`; the source is `corvus_proxy/settings/`.",
        "One TOML file (`--config FILE` or `CORVUS_CONFIG`); each option of a plain section can be",
        "overridden by a variable `CORVUS_<SECTION>_<OPTION>`, as `CORVUS_REDIS_URL` (a table as",
        "JSON). An unknown key is an error, and so is a number that makes no sense.",
        "",
        "`production` (bool, default `false`): " + _rows(Settings)[0][3],
        "",
        "`CORVUS_STATE` (variable alone, default `.corvus`): The state folder that `corvus up`",
        "makes and every other command looks into, where no `--state` names one.",
        "",
        "`CORVUS_CLOCK_OFFSET_S` (variable alone, default 0): Puts one process's wall clock off by",
        "so many whole seconds, read once at start. For the drill; timeouts and leases stay.",
        "",
    ]
    sections: list[tuple[str, type[msgspec.Struct]]] = [
        (f"[{name}]", struct_of(name)) for name in PLAIN_SECTIONS
    ]
    sections += [("[[upstream]]", Upstream), ("[[upstream.credential]]", Credential)]
    for title, kind in sections:
        out += [
            f"## `{title}`",
            "",
            str(kind.__doc__),
            "",
            "| option | type | default | reason |",
            "|---|---|---|---|",
        ]
        for name, annotation, default, reason in _rows(kind):
            shown = "required" if default is None else f"`{_toml(default)}`"
            out.append(f"| `{name}` | {annotation} | {shown} | {reason} |")
        out.append("")
    return "\n".join(out)


def example() -> str:
    """`config/corvus.example.toml`: every option at its default, commented out."""
    out = [
        "# Every option at its default. Written by `python -m corvus_proxy.settings example`.",
        "",
        "# " + _rows(Settings)[0][3],
        "# production = false",
        "",
    ]
    for section in PLAIN_SECTIONS:
        kind = struct_of(section)
        out += [f"# {kind.__doc__}", f"[{section}]"]
        for name, _, default, reason in _rows(kind):
            out += [f"# {reason}", f"# {name} = {_toml(default)}"]
        out.append("")
    out += [
        "# One for each family that is sold.",
        "# [[upstream]]",
        '# family = "anthropic"',
        '# base_url = "https://api.anthropic.com"',
        "# [[upstream.credential]]",
        '# name = "a1"',
        '# secret_env = "ANTHROPIC_API_KEY"',
        "# weight = 1\n# cost_factor = 1.0",
        "",
    ]
    return "\n".join(out)
