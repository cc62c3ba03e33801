"""Clients with windows, which a person sets up."""

from corvus_proxy.site.public.docs.setups.steps import (
    KEY_STEP,
    At,
    Setup,
    Step,
    chat,
    models,
    variables,
)
from corvus_proxy.site.public.page import KEY


def cline(where: At) -> Setup:
    """Its set-up."""
    words = "code --install-extension saoudrizwan.claude-dev"
    shown = "code --list-extensions"
    return Setup(
        "cline",
        "Cline",
        True,
        "openai",
        where.api_v1,
        ("/v1/chat/completions",),
        ("anthropic", "openai", "glm"),
        "https://docs.cline.bot/provider-config/openai-compatible",
        Step("With Visual Studio Code, in either shell:", words, words, "installs"),
        Step("The list has `saoudrizwan.claude-dev`:", shown, shown, "opens"),
        (
            Step("Open Cline's settings (the gear) and choose:", kind="by hand", content=(
                f"API Provider:  OpenAI Compatible\nBase URL:      {where.api_v1}\n"
                f"API Key:       {KEY}\nModel ID:      {where.claude}\n"
            ), language="text"),
            Step(
                "Below it, set context window and maximum output to those of the model"
                " ([models](/docs/api/models)): Cline cannot know them.",
                kind="by hand",
            ),
        ),
        (
            KEY_STEP,
            models(where),
            chat(where, where.claude),
            Step("In Cline, send \"Say hello.\": the answer comes word by word.", kind="by hand"),
        ),
        (
            "The base URL ends in `/v1`, with no slash and no `/chat/completions` behind it.",
            "The price that Cline shows is what you typed beside the model, or nothing. What was"
            " charged is in the dashboard.",
        ),
    )  # fmt: skip


def cursor(where: At) -> Setup:
    """Its set-up."""
    return Setup(
        "cursor",
        "Cursor",
        False,
        "openai",
        where.api_v1,
        ("/v1/models", "/v1/chat/completions"),
        ("openai", "anthropic"),
        "https://cursor.com/docs",
        Step("Install it from its own site.", kind="by hand"),
        Step("It is there when it opens and *Cursor Settings* has *Models*.", kind="by hand"),
        (
            Step("In *Cursor Settings*, *Models*, *API Keys*:", kind="by hand", content=(
                f"OpenAI API Key:            {KEY}\nOverride OpenAI Base URL:  {where.api_v1}\n"
            ), language="text"),
            Step(f"Add the model by hand: `{where.gpt}`, and turn it on.", kind="by hand"),
        ),
        (
            KEY_STEP,
            models(where),
            chat(where, where.gpt),
            Step(
                "In Cursor, press *Verify*, choose the model in a chat and send \"Say hello.\"",
                kind="by hand",
            ),
        ),
        (
            "The base URL ends in `/v1`.",
            "The override counts for all models of OpenAI's in Cursor. Turn it off to use Cursor's"
            " own again.",
        ),
        condition=(
            "Cursor sends such requests from its own servers, so the API has to be reachable from"
            " the internet, and it decides by plan and release which of its features take a key"
            " of yours: chat does, completion while you type does not. It is no part of our tests."
        ),
    )  # fmt: skip


def open_webui(where: At) -> Setup:
    """Its set-up."""
    words = "-m pip install open-webui"
    return Setup(
        "open-webui",
        "Open WebUI",
        True,
        "openai",
        where.api_v1,
        ("/v1/models", "/v1/chat/completions"),
        ("anthropic", "openai", "glm"),
        "https://docs.openwebui.com",
        Step("With Python 3.11:", f"python3.11 {words}", f"py -3.11 {words}", "installs"),
        Step("It is there when this prints its version:", "open-webui --version",
             "open-webui --version", "opens"),
        (
            variables(
                "Before its first start:",
                {"OPENAI_API_BASE_URL": where.api_v1, "OPENAI_API_KEY": KEY},
            ),
            Step("Start it, and open `http://localhost:8080`:", "open-webui serve",
                 "open-webui serve", "opens"),
            Step(
                "It keeps these settings from then on. To change them later: *Admin Panel*,"
                " *Settings*, *Connections*, *OpenAI API*.",
                kind="by hand",
            ),
        ),
        (
            Step(
                "The call by which it checks a connection:",
                'curl -sS --fail-with-body "$OPENAI_API_BASE_URL/models" \\\n'
                '  -H "Authorization: Bearer $OPENAI_API_KEY"',
                '(Invoke-RestMethod "$env:OPENAI_API_BASE_URL/models" `\n'
                '  -Headers @{ Authorization = "Bearer $env:OPENAI_API_KEY" }).data.id',
            ),
            Step(f"In it, choose `{where.claude}` and send \"Say hello.\"", kind="by hand"),
        ),
        (
            "The base URL ends in `/v1`.",
            "It asks for titles, tags and follow-ups by itself, each a request of its own. Choose"
            " a cheap model for them: *Admin Panel*, *Settings*, *Interface*.",
            "Its list of models is the list of your key.",
        ),
    )  # fmt: skip
