"""The openai package of the major before: two streamed turns with a tool between them."""

import json
import os
from typing import Any

import openai

API, KEY, MODEL = (os.environ[f"CORVUS_{name}"] for name in ("API", "KEY", "MODEL"))
SHELL = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
TOOLS: Any = [{"type": "function", "function": {"name": "shell", "parameters": SHELL}}]

client = openai.OpenAI(base_url=f"{API}/v1", api_key=KEY)
messages: list[Any] = [{"role": "user", "content": "run echo corvus"}]
with client.chat.completions.stream(model=MODEL, messages=messages, tools=TOOLS) as stream:
    told = stream.get_final_completion().choices[0].message
messages.append(told.model_dump(exclude_none=True, exclude={"parsed"}))
for call in told.tool_calls or []:
    command = json.loads(call.function.arguments)["command"]
    messages.append({"role": "tool", "tool_call_id": call.id, "content": f"ran {command}"})
with client.chat.completions.stream(
    model=MODEL, messages=messages, tools=TOOLS, stream_options={"include_usage": True}
) as stream:
    second = stream.get_final_completion()
usage = second.usage.completion_tokens if second.usage else 0
print(json.dumps({"text": second.choices[0].message.content, "output": usage}))
