"""A tree is whole, whatever is collected while it is made."""

import ast
import gc
import traceback


class Left:
    """Garbage that only the collector finds, and that prints a traceback when it does."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        try:
            int("x") + int("y")
        except ValueError:
            traceback.format_exc()


def test_what_is_collected_does_not_disturb_a_parser() -> None:
    """A collector that runs at each step finds something to print at once."""
    source = "\n".join(f"a = {deep}" for deep in ["((((1 + 2) * 3) + 4) * 5)"] * 200)
    thresholds = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(50):
            Left()
            assert len(ast.parse(source).body) == 200
    finally:
        gc.set_threshold(*thresholds)
    assert gc.isenabled()
