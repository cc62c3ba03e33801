"""Corvus proxy: a prepaid gateway for LLM APIs.

The packages are layers and imports point down only; `[tool.importlinter]` in
`pyproject.toml` is the list, `docs/architecture.md` the explanation.
"""

__version__ = "0.2.0.dev0"
