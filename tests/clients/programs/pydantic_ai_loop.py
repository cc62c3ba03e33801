"""pydantic-ai with a tool: it runs it and asks again, streaming both turns."""

import asyncio
import json
import os

from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

API, KEY, MODEL = (os.environ[f"CORVUS_{name}"] for name in ("API", "KEY", "MODEL"))


def model(dialect: str) -> object:
    """The model through the class that speaks this dialect."""
    if dialect == "messages":
        return AnthropicModel(MODEL, provider=AnthropicProvider(base_url=API, api_key=KEY))
    kind = OpenAIChatModel if dialect == "chat" else OpenAIResponsesModel
    return kind(MODEL, provider=OpenAIProvider(base_url=f"{API}/v1", api_key=KEY))


async def main() -> None:
    """Asks once and prints what came of it."""
    agent = Agent(model(os.environ["CORVUS_DIALECT"]))

    @agent.tool_plain
    def shell(command: str) -> str:
        return f"ran {command}"

    async with agent.run_stream("run echo corvus") as result:
        text = await result.get_output()
    usage = result.usage() if callable(result.usage) else result.usage
    print(json.dumps({"text": text, "output": usage.output_tokens}))


asyncio.run(main())
