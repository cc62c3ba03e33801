"""LangChain with a tool that the caller runs: two streamed turns."""

import json
import os
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

API, KEY, MODEL = (os.environ[f"CORVUS_{name}"] for name in ("API", "KEY", "MODEL"))


@tool
def shell(command: str) -> str:
    """Runs a line in a shell."""
    return f"ran {command}"


def model(dialect: str) -> Any:
    """The model through the class that speaks this dialect."""
    if dialect == "messages":
        return ChatAnthropic(model=MODEL, base_url=API, api_key=KEY)
    # With an address of its own the class asks for usage only where it is told to.
    return ChatOpenAI(
        model=MODEL,
        base_url=f"{API}/v1",
        api_key=KEY,
        stream_usage=True,
        use_responses_api=dialect == "responses",
    )


def streamed(bound: Any, messages: list[Any]) -> AIMessageChunk:
    """One turn, put together from its pieces."""
    pieces = list(bound.stream(messages))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return whole


bound = model(os.environ["CORVUS_DIALECT"]).bind_tools([shell])
messages: list[Any] = [HumanMessage("run echo corvus")]
first = streamed(bound, messages)
messages.append(first)
for call in first.tool_calls:
    output = shell.invoke(call["args"])
    messages.append(ToolMessage(output, tool_call_id=call["id"]))
second = streamed(bound, messages)
print(
    json.dumps({"text": second.text, "output": (second.usage_metadata or {}).get("output_tokens")})
)
