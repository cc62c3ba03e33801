"""\"Test this key\": one tiny call through the API port, as a client would make it."""

import json
from typing import Any, NamedTuple

from corvus_proxy.site.shop.snippets import PROMPT, Slugs
from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import Caller, Fetched

TRIAL_S = 30.0
TOKENS = 60


class Trial(NamedTuple):
    """What came of it."""

    ok: bool
    model: str
    answer: str
    """The model's words, or ours on what went wrong."""
    cost: str
    """USD, as the API told it; empty where it told none."""
    balance: str
    """USD left, as the API told it; empty where it told none."""


async def run(api: str, names: Slugs, key: str) -> Trial:
    """Asks the cheapest model to say hello, then the balance. Costs a fraction of a cent."""
    model = names.chat or names.messages
    body = {
        "model": model,
        "max_tokens": TOKENS,
        "messages": [{"role": "user", "content": PROMPT}],
    }
    path = "/v1/chat/completions" if names.chat else "/v1/messages"
    headers = {
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
    }
    caller = Caller(timeout_s=TRIAL_S)
    try:
        content = json.dumps(body).encode()
        found = await caller.fetch("POST", api + path, headers, content=content)
        standing = await caller.fetch("GET", f"{api}/v1/key", headers)
    except UpstreamBroke:
        sentence = "The API did not answer. The key is not to blame; try again in a moment."
        return Trial(False, model, sentence, "", "")
    finally:
        await caller.close()
    told = _json(found)
    balance = _json(standing).get("balance", "")
    if found.status != 200:
        problem = told.get("error")
        words = problem.get("message", "") if isinstance(problem, dict) else ""
        return Trial(False, model, words or f"The API answered {found.status}.", "", str(balance))
    cost = found.headers.get("x-corvus-cost-usd", "")
    return Trial(True, model, _words(told), cost, str(balance))


def _json(found: Fetched) -> dict[str, Any]:
    try:
        told = json.loads(found.body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _words(told: dict[str, Any]) -> str:
    """The text of a chat or messages answer."""
    try:
        if "choices" in told:
            return str(told["choices"][0]["message"]["content"] or "")
        return "".join(str(part.get("text", "")) for part in told["content"])
    except (LookupError, TypeError, AttributeError):
        return ""
