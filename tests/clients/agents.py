"""How each agent is pointed at the gateway and asked to run one command: as their users do."""

import json
import subprocess

from tests.clients import installed, table
from tests.clients.desk import Desk

PROMPT = "run echo corvus"


def ask_claude_code(desk: Desk, slug: str) -> subprocess.CompletedProcess[str]:
    """Claude Code, all that happens as a JSON value a line."""
    program = installed.program(table.CLAUDE_CODE, "claude")
    words = ["-p", "--model", slug, "--output-format", "stream-json", "--verbose"]
    return desk.sandbox.run(
        program,
        *words,
        "--allowedTools",
        "Bash",
        "--",
        PROMPT,
        ANTHROPIC_BASE_URL=desk.tap.url,
        ANTHROPIC_AUTH_TOKEN=desk.key["secret"],
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )


def ask_codex(desk: Desk, slug: str) -> subprocess.CompletedProcess[str]:
    """Codex with a provider of its own, all that happens as a JSON value a line."""
    home = desk.sandbox.home / "codex"
    home.mkdir()
    (home / "config.toml").write_text(f"""
model = "{slug}"
model_provider = "corvus"
[model_providers.corvus]
name = "corvus"
base_url = "{desk.tap.url}/v1"
env_key = "CORVUS_API_KEY"
wire_api = "responses"
""")
    return desk.sandbox.run(
        installed.program(table.CODEX, "codex"),
        "exec",
        "--json",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        PROMPT,
        CODEX_HOME=str(home),
        CORVUS_API_KEY=desk.key["secret"],
    )


def ask_opencode(desk: Desk, slug: str) -> subprocess.CompletedProcess[str]:
    """opencode through its provider for compatible services, a JSON value a line."""
    options = {"baseURL": f"{desk.tap.url}/v1", "apiKey": desk.key["secret"]}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "corvus",
        "options": options,
        "models": {slug: {"name": slug}},
    }
    settings = {"provider": {"corvus": provider}, "permission": {"bash": "allow"}}
    (desk.sandbox.work / "opencode.json").write_text(json.dumps(settings))
    return desk.sandbox.run(
        installed.program(table.OPENCODE, "opencode"),
        "run",
        "--format",
        "json",
        "--model",
        f"corvus/{slug}",
        PROMPT,
        OPENCODE_DISABLE_MODELS_FETCH="1",
        OPENCODE_DISABLE_AUTOUPDATE="1",
    )


def ask_llm(desk: Desk, slug: str) -> subprocess.CompletedProcess[str]:
    """Simon Willison's `llm` with the tool that tells its own version, which it prints."""
    home = desk.sandbox.home / "llm"
    home.mkdir()
    (home / "extra-openai-models.yaml").write_text(f"""
- model_id: corvus
  model_name: {slug}
  api_base: "{desk.tap.url}/v1"
  api_key_name: corvus
  supports_tools: true
""")
    (home / "keys.json").write_text(json.dumps({"corvus": desk.key["secret"]}))
    return desk.sandbox.run(
        installed.program(table.LLM, "llm"),
        *["-m", "corvus", "-T", "llm_version", "--td", "call the tool: which version?"],
        LLM_USER_PATH=str(home),
    )
