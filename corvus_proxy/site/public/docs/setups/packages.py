"""The vendors' own packages, and the programs that try them."""

from corvus_proxy.site.public.docs.setups.steps import (
    At,
    Setup,
    Step,
    pip,
    variables,
)
from corvus_proxy.site.public.page import KEY


def openai_sdk(where: At) -> Setup:
    """Its set-up."""
    install, check = pip("openai", "openai")
    return Setup(
        "openai-sdk",
        "OpenAI SDK",
        True,
        "openai",
        where.api_v1,
        ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/models"),
        ("openai", "glm", "anthropic"),
        "https://github.com/openai/openai-python",
        install,
        check,
        (
            variables(
                "The package reads both from the environment:",
                {"OPENAI_BASE_URL": where.api_v1, "OPENAI_API_KEY": KEY},
            ),
        ),
        (
            Step(
                "The call by which the package lists models:",
                'curl -sS --fail-with-body "$OPENAI_BASE_URL/models" \\\n'
                '  -H "Authorization: Bearer $OPENAI_API_KEY"',
                '(Invoke-RestMethod "$env:OPENAI_BASE_URL/models" `\n'
                '  -Headers @{ Authorization = "Bearer $env:OPENAI_API_KEY" }).data.id',
            ),
            Step("From Python, in the same shell (`python3 hello.py`, or `py hello.py`):",
                 file="hello.py", content=_OPENAI.format(model=where.gpt), language="python"),
            Step(
                "From Node.js (`npm install openai`, then `node hello.mjs`):",
                kind="by hand",
                file="hello.mjs",
                content=_OPENAI_JS.format(model=where.gpt),
                language="js",
            ),
        ),
        (
            "The base URL ends in `/v1`. In code it is `base_url`, in JavaScript `baseURL`.",
            "`max_tokens` works on every model: it is sent on under the name that the model takes.",
            "The package repeats a request that failed twice by itself. An empty balance stops it"
            " at once.",
        ),
        "openai 3.57.0 (Python), 7.57.0 (Node.js)",
    )  # fmt: skip


def anthropic_sdk(where: At) -> Setup:
    """Its set-up."""
    install, check = pip("anthropic", "anthropic")
    return Setup(
        "anthropic-sdk",
        "Anthropic SDK",
        True,
        "anthropic",
        where.api,
        ("/v1/messages", "/v1/messages/count_tokens", "/v1/models"),
        ("anthropic",),
        "https://github.com/anthropics/anthropic-sdk-python",
        install,
        check,
        (
            variables(
                "The package reads both from the environment:",
                {"ANTHROPIC_BASE_URL": where.api, "ANTHROPIC_API_KEY": KEY},
            ),
        ),
        (
            Step(
                "The call by which the package lists models:",
                'curl -sS --fail-with-body "$ANTHROPIC_BASE_URL/v1/models" \\\n'
                '  -H "x-api-key: $ANTHROPIC_API_KEY" -H "anthropic-version: 2023-06-01"',
                '(Invoke-RestMethod "$env:ANTHROPIC_BASE_URL/v1/models" -Headers @{\n'
                '  "x-api-key" = $env:ANTHROPIC_API_KEY'
                '; "anthropic-version" = "2023-06-01" }).data.id',
            ),
            Step("From Python, in the same shell (`python3 hello.py`, or `py hello.py`):",
                 file="hello.py", content=_ANTHROPIC.format(model=where.claude),
                 language="python"),
            Step(
                "From Node.js (`npm install @anthropic-ai/sdk`, then `node hello.mjs`):",
                kind="by hand",
                file="hello.mjs",
                content=_ANTHROPIC_JS.format(model=where.claude),
                language="js",
            ),
        ),
        (
            "The base URL has **no** `/v1`: the package adds it.",
            "`cache_control` is passed on as it stands, and cache reads are charged as such.",
            "GPT and GLM models work as well, by translation.",
        ),
        "anthropic 2.13.0 (Python), @anthropic-ai/sdk 1.12.0 (Node.js)",
    )  # fmt: skip


_OPENAI = """\
from openai import OpenAI

client = OpenAI()
stream = client.chat.completions.create(
    model="{model}",
    max_tokens=200,
    stream=True,
    messages=[{{"role": "user", "content": "Say hello in one sentence."}}],
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""
_ANTHROPIC = """\
from anthropic import Anthropic

client = Anthropic()
with client.messages.stream(
    model="{model}",
    max_tokens=200,
    messages=[{{"role": "user", "content": "Say hello in one sentence."}}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
"""
_OPENAI_JS = """\
import OpenAI from "openai";

const client = new OpenAI();
const stream = await client.chat.completions.create({{
  model: "{model}",
  max_tokens: 200,
  stream: true,
  messages: [{{ role: "user", content: "Say hello in one sentence." }}],
}});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
"""
_ANTHROPIC_JS = """\
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const stream = client.messages.stream({{
  model: "{model}",
  max_tokens: 200,
  messages: [{{ role: "user", content: "Say hello in one sentence." }}],
}});
stream.on("text", (text) => process.stdout.write(text));
await stream.finalMessage();
"""
