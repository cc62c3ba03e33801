"""What stands in a 404: the URL that was meant, or why there is nothing there."""

from corvus_proxy.wire.dialect import COUNTING, PATHS

_BARE = ("/chat/completions", "/messages", "/models", "/completions", "/responses", "/embeddings")
UNSERVED = {
    "/v1/responses/compact": "Compaction is an answer of its own and not priced here; send the"
    " conversation itself.",
    "/v1/responses/": "Responses are not stored here, so none can be fetched, cancelled or"
    " deleted; send the whole input with each request.",
    "/v1/conversations": "Conversations are not stored here; send the whole input with each"
    " request.",
    "/v1/messages/batches": "Batches are not served; send the requests one by one.",
    "/v1/batches": "Batches are not served; send the requests one by one.",
    "/v1/files": "Files are not stored here; send their content in the request.",
    "/v1/uploads": "Files are not stored here; send their content in the request.",
    "/v1/completions": "The old completions are not served; use POST /v1/chat/completions.",
    "/v1/complete": "The old completions are not served; use POST /v1/messages.",
    "/v1/audio/": "Audio is not priced here and not served.",
    "/v1/images/": "Image generation is not priced here and not served.",
    "/v1/moderations": "Moderation is not served.",
    "/v1/assistants": "Assistants are not served; use POST /v1/responses.",
    "/v1/threads": "Assistants are not served; use POST /v1/responses.",
    "/v1/realtime": "Realtime sessions are not served; use POST /v1/responses.",
    "/v1/fine_tuning/": "Fine-tuning is not served.",
    "/v1/vector_stores": "Vector stores are not served.",
}
"""Beginnings of the vendors' own paths that are not served, and what to do instead."""


def hint(path: str, api_url: str, account_paths: tuple[str, ...]) -> str:
    """The sentence for a path that nothing answers."""
    if path.startswith("/v1/v1/"):
        return (
            f"There is no {path}: an Anthropic-style base URL has no /v1 at its end"
            f" ({api_url}); an OpenAI-style one has it once ({api_url}/v1)."
        )
    if path.startswith(_BARE):
        return (
            f"There is no {path}: an OpenAI-style base URL ends in /v1 ({api_url}/v1), so"
            f" that the client calls {api_url}/v1{path}."
        )
    for beginning, sentence in UNSERVED.items():
        if path.startswith(beginning):
            return f"There is no {path}. {sentence}"
    meant = _meant(path)
    if meant:
        style = "/v1" if "messages" not in meant else ""
        return (
            f"There is no {path}: the base URL is {api_url}{style}, with nothing before or behind"
            f" it, so that the client calls {api_url}{meant}."
        )
    served = ", ".join(f"POST {known}" for known in (*PATHS, *COUNTING))
    about = ", ".join(account_paths)
    return f"There is no {path}. Served are {served}, /v1/models, and about your key {about}."


def _meant(path: str) -> str:
    """The path that a client means that has put too much into its base URL: another path before
    ours, a whole endpoint, a slash too many."""
    path = path.rstrip("/")
    known = (*PATHS, *COUNTING, "/v1/models")
    ends = (one for one in known if path.endswith((one, one.removeprefix("/v1"))))
    return max(ends, key=len, default="")
