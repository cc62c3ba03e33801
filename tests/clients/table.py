"""The official clients that finish a tool loop through the gateway: their packages, exactly.

Each is installed once, into a folder of its own under CORVUS_CLIENTS_CACHE (`installed.py`). Those
with `gate` belong to the gate; the others are asked for with `--all`.
"""

from typing import NamedTuple


class Client(NamedTuple):
    """One client, or several that are installed together."""

    name: str
    kind: str
    """`npm` or `pip`."""
    packages: tuple[str, ...]
    """Names with exact versions, as the installer takes them."""
    gate: bool = False
    scripts: bool = False
    """npm: whether the package's own installer has to run; it puts its program in place."""


JAVASCRIPT = Client(
    "javascript",
    "npm",
    (
        "openai@7.57.0",
        "@anthropic-ai/sdk@1.12.0",
        "ai@7.0.173",
        "@ai-sdk/openai@4.0.118",
        "@ai-sdk/anthropic@4.0.105",
        "@ai-sdk/openai-compatible@3.0.92",
        "zod@4.6.7",
    ),
    gate=True,
)
CLAUDE_CODE = Client(
    "claude-code", "npm", ("@anthropic-ai/claude-code@2.1.330",), gate=True, scripts=True
)
CODEX = Client("codex", "npm", ("@openai/codex@0.169.0",))
OPENCODE = Client("opencode", "npm", ("opencode-ai@1.18.33",), scripts=True)
LLM = Client("llm", "pip", ("llm==0.36",))
PYDANTIC_AI = Client("pydantic-ai", "pip", ("pydantic-ai-slim[openai,anthropic]==2.68.0",))
LANGCHAIN = Client("langchain", "pip", ("langchain-openai==1.7.3", "langchain-anthropic==1.7.7"))
OLDER_SDKS = Client("older-sdks", "pip", ("openai==2.54.0",))
"""The major before the one that the test suite itself has: other packages still need it."""
