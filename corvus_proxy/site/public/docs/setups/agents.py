"""Agents of the command line."""

import json

from corvus_proxy.site.public.docs.setups.steps import (
    KEY_STEP,
    VARIABLE,
    At,
    Setup,
    Step,
    file,
    models,
    npm,
    variables,
)
from corvus_proxy.site.public.page import KEY


def claude_code(where: At) -> Setup:
    """Its set-up."""
    install, check = npm("@anthropic-ai/claude-code", "claude")
    ask = f'claude -p --model {where.claude} "Say hello in one sentence."'
    settings = {"env": {"ANTHROPIC_BASE_URL": where.api, "ANTHROPIC_AUTH_TOKEN": KEY}}
    return Setup(
        "claude-code",
        "Claude Code",
        True,
        "anthropic",
        where.api,
        ("/v1/messages", "/v1/messages/count_tokens"),
        ("anthropic",),
        "https://code.claude.com/docs",
        install,
        check,
        (
            variables(
                "In the shell that starts it:",
                {"ANTHROPIC_BASE_URL": where.api, "ANTHROPIC_AUTH_TOKEN": KEY},
            ),
            Step(
                "To keep it, write it into your own settings instead (never into a project's file"
                " that others read). What stands there wins over the shell.",
                kind="by hand",
                file="~/.claude/settings.json",
                content=json.dumps(settings, indent=2),
                language="json",
            ),
        ),
        (
            models(where, "ANTHROPIC_AUTH_TOKEN"),
            Step("With it, one answer and back:", ask, ask, "run", "claude"),
            Step(
                "In a session, `/status` shows the base URL, and `/model` takes any slug.",
                kind="by hand",
            ),
        ),
        (
            "The base URL has **no** `/v1`: Claude Code adds `/v1/messages` by itself.",
            "Set `ANTHROPIC_AUTH_TOKEN` alone. With `ANTHROPIC_API_KEY` beside it two keys may be"
            " sent, and two different ones are refused.",
            "Log out of an account of Anthropic's first (`/logout`) if it still uses that.",
            "Prompt caching works as at the vendor: long sessions are mostly cache reads.",
            "The cost that it shows is reckoned from the vendor's list prices; what was charged is"
            " in the dashboard.",
        ),
        "@anthropic-ai/claude-code 2.1.330",
    )


def codex(where: At) -> Setup:
    """Its set-up."""
    install, check = npm("@openai/codex", "codex")
    content = (
        f'model = "{where.gpt}"\nmodel_provider = "corvus"\n\n[model_providers.corvus]\n'
        f'name = "corvus"\nbase_url = "{where.api_v1}"\nenv_key = "{VARIABLE}"\n'
        'wire_api = "responses"\n'
    )
    ask = 'codex exec --skip-git-repo-check "Say hello in one sentence."'
    return Setup(
        "codex-cli",
        "Codex CLI",
        True,
        "openai",
        where.api_v1,
        ("/v1/responses",),
        ("openai",),
        "https://developers.openai.com/codex",
        install,
        check,
        (
            KEY_STEP,
            file(
                "Write its configuration. If you have one already, add these lines to it by hand:"
                " the first two above its first table.",
                ".codex",
                "config.toml",
                content,
                "toml",
            ),
        ),
        (models(where), Step("With it:", ask, ask, "run", "codex")),
        (
            "The base URL ends in `/v1`.",
            '`wire_api = "responses"` is needed: current releases refuse `"chat"`.',
            "The name of the provider must not be `openai`, `ollama` or `lmstudio`. Setting"
            " `OPENAI_BASE_URL` alone does nothing.",
            f"Codex reads `{VARIABLE}` when it starts: set it in the same shell.",
            "Claude and GLM models work as well: put their slug into `model`.",
        ),
        "@openai/codex 0.169.0",
    )


def opencode(where: At) -> Setup:
    """Its set-up."""
    install, check = npm("opencode-ai", "opencode")
    content = json.dumps(
        {
            "$schema": "https://opencode.ai/config.json",
            "provider": {
                "corvus": {
                    "npm": "@ai-sdk/openai-compatible",
                    "name": "corvus",
                    "options": {"baseURL": where.api_v1, "apiKey": f"{{env:{VARIABLE}}}"},
                    "models": {where.claude: {"name": where.claude}},
                }
            },
        },
        indent=2,
    )
    ask = f'opencode run --model corvus/{where.claude} "Say hello in one sentence."'
    return Setup(
        "opencode",
        "opencode",
        False,
        "openai",
        where.api_v1,
        ("/v1/chat/completions",),
        ("anthropic", "openai", "glm"),
        "https://opencode.ai/docs",
        install,
        check,
        (
            KEY_STEP,
            file(
                "Write its configuration. If you have one already, add the provider to it by hand.",
                ".config/opencode",
                "opencode.json",
                content + "\n",
                "json",
            ),
        ),
        (models(where), Step("With it:", ask, ask, "run", "opencode")),
        (
            "The base URL ends in `/v1`.",
            "List each model that you want to choose below `models`.",
        ),
        "opencode-ai 1.18.33",
        condition=(
            "It brings a package for such providers, and asks once more for a title at the"
            " beginning of each session: two requests are charged, and both are held for at once,"
            " so a balance of a few cents may be too little."
        ),
    )
