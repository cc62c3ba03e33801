"""LiteLLM's proxy, from PyPI by `litellm.lock`, with its master key asked for.

Its virtual keys and its spending need a database through Prisma, whose query engine is a program
that Prisma's installer downloads from a host of its own; no package of PyPI or npm has it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import far
from bench.far import Far
from bench.peers import install
from bench.peers.subject import Command, Peer, home, started
from bench.stack import Subject
from corvus_proxy.ops.embedded import free_port

LOCK = install.HERE / "litellm.lock"
MASTER_KEY = "sk-bench-master"


def versions() -> dict[str, str]:
    """By the lock. Raises Missing."""
    install.python("litellm", LOCK)
    line = next(line for line in LOCK.read_text().splitlines() if line.startswith("litellm=="))
    return {"litellm": line.split()[0].partition("==")[2]}


def command(config: Path, port: int) -> Command:
    """One uvicorn worker, as its production checklist has it for one core."""
    return Command(
        [
            str(install.python("litellm", LOCK) / "litellm"),
            *("--config", str(config), "--host", "127.0.0.1", "--port", str(port)),
            *("--num_workers", "1"),
        ],
        {
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            # No price list from the network at its start.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
    )


@contextmanager
def running(upstream: Far) -> Iterator[Subject]:
    """It, with one model at the far end. Raises Missing."""
    slug = far.SLUGS["chat"]
    model = {
        "model": f"openai/{slug}",
        "api_base": f"http://127.0.0.1:{upstream.port}/v1",
        "api_key": "bench-secret",
    }
    document = {
        "model_list": [{"model_name": slug, "litellm_params": model}],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True},
    }
    with home() as folder:
        config, port = folder / "config.yaml", free_port({})
        config.write_text(json.dumps(document))  # JSON is YAML
        subject = Subject("litellm", port, {}, [MASTER_KEY])
        with started(subject, command(config, port), folder, far.plain()) as ready:
            yield ready


PEER = Peer(
    "litellm",
    versions,
    running,
    "one uvicorn worker, LITELLM_MODE=PRODUCTION, LITELLM_LOG=ERROR, json_logs, request_timeout "
    "600, master key checked on every request",
    {
        "litellm, database accounting": "its keys and its spending need Prisma's query engine, "
        "which is downloaded from a host of Prisma's own and is in no package of PyPI or npm"
    },
)
