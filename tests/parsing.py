"""Source is parsed without the garbage collector, in the tests' processes.

CPython up to 3.11.7 and 3.12.1 (Debian 12 has 3.11.2) counts the depth of a syntax tree in one
place for all trees (github.com/python/cpython/issues/106905). If what is collected meanwhile
prints a traceback, whose carets are found by parsing its line, the outer `ast.parse` raises
`SystemError: AST constructor recursion depth mismatch`. Test modules, and those of pytest's
plugins, are parsed at whatever moment they are imported.
"""

import ast
import functools
import gc
from collections.abc import Callable
from typing import Any


def _undisturbed(parse: Callable[..., ast.AST]) -> Callable[..., ast.AST]:
    @functools.wraps(parse)
    def parse_undisturbed(*args: Any, **options: Any) -> ast.AST:
        if not gc.isenabled():
            return parse(*args, **options)
        gc.disable()
        try:
            return parse(*args, **options)
        finally:
            gc.enable()

    return parse_undisturbed


def shield() -> None:
    """Makes `ast.parse` so, for the rest of this process; a second call changes nothing."""
    if not hasattr(ast.parse, "__wrapped__"):
        ast.parse = _undisturbed(ast.parse)  # type: ignore[assignment]
