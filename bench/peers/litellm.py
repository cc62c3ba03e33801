"""LiteLLM's proxy, from PyPI by `litellm.lock`, with its master key asked for.

Its virtual keys and its spending need a database through Prisma, whose query engine is a program
that Prisma's installer downloads from a host of its own; no package of PyPI or npm has it.
"""

import json

from bench.peers import install
from bench.peers.subject import Command, Peer, Place

LOCK = install.HERE / "litellm.lock"
MASTER_KEY = "sk-bench-master"


def versions() -> dict[str, str]:
    """By the lock."""
    install.python("litellm", LOCK)
    line = next(line for line in LOCK.read_text().splitlines() if line.startswith("litellm=="))
    return {"litellm": line.split()[0].partition("==")[2]}


def command(place: Place) -> Command:
    """One uvicorn worker on its one core, as its production checklist has it."""
    config = place.folder / "config.yaml"
    # JSON is YAML.
    config.write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": "gpt-4.1",
                        "litellm_params": {
                            "model": "openai/gpt-4.1",
                            "api_base": f"http://127.0.0.1:{place.far_port}/v1",
                            "api_key": "bench-secret",
                        },
                    }
                ],
                "general_settings": {"master_key": MASTER_KEY},
                "litellm_settings": {
                    "request_timeout": 600,
                    "set_verbose": False,
                    "json_logs": True,
                },
            }
        )
    )
    return Command(
        [
            str(install.python("litellm", LOCK) / "litellm"),
            *("--config", str(config), "--host", "127.0.0.1", "--port", str(place.port)),
            *("--num_workers", "1"),
        ],
        {
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            # No price list from the network at its start.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
    )


PEER = Peer(
    "litellm",
    versions,
    command,
    lambda place: {"authorization": f"Bearer {MASTER_KEY}"},
    "one uvicorn worker, LITELLM_MODE=PRODUCTION, LITELLM_LOG=ERROR, json_logs, request_timeout 600, "
    "master key checked on every request",
    {
        "litellm, database accounting": "Prisma's query engine is downloaded from a host of its own "
        "and is in no package of PyPI or npm"
    },
)
