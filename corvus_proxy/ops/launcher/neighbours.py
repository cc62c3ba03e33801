"""The simulated neighbours of `corvus up`: model providers, payment services, a mail server.

Each says on which ports it is, what it puts into the configuration where the operator's own file
does not, how its process is started and where it answers. A further one is a further class.
"""

import secrets
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from corvus_proxy.ops import embedded
from corvus_proxy.ops.state import State, write_private

FAMILIES = {"anthropic": "", "openai": "", "glm": "/api/paas/v4"}
"""Simulated providers, and the prefix of their paths."""
COST_PERCENT = 30
"""What the simulated account pays of the official prices."""
GLM_MESSAGES = "/api/anthropic"
"""The prefix of the paths where GLM speaks Messages."""
DEMO_BRAND = {
    "support": "nobody answers here: this is a demonstration",
    "independence": (
        "This is a demonstration. Whoever runs it is independent of Anthropic, OpenAI and Z.AI, and"
        " not endorsed by them."
    ),
    "refunds": (
        "This is a demonstration: no money moves, so there is none to refund. An operator states"
        " the rule here; for example: what is not spent is refunded within 30 days on request."
    ),
}
PAYMENT_SECRETS = {
    "stripe-key": "sk_test_",
    "stripe-hook": "whsec_",
    "btcpay-key": "",
    "btcpay-hook": "",
}
"""Files of secrets, and how each begins."""


class Place(NamedTuple):
    """Where the stack is."""

    state: State
    host: str
    """The address that others reach it at."""
    listen: str
    """The address that it listens on."""
    site_port: int


class Neighbour(Protocol):
    """One simulated neighbour in a process of its own."""

    name: str
    module: str

    def configure(self, tree: dict[str, Any]) -> None:
        """Puts its options into the configuration, where there are none of the operator's own."""
        ...

    def words(self) -> list[str]:
        """The command line of its module."""
        ...

    def answers_at(self) -> tuple[int, str] | None:
        """Port and path that answer once it is ready; None where nobody needs to wait."""
        ...

    def url(self) -> str | None:
        """For `up.json`: where a person looks at it."""
        ...


class Providers:
    """Anthropic, OpenAI and Z.AI."""

    name = "providers"
    module = "corvus_proxy.dev.providers"

    def __init__(self, place: Place, taken: dict[int, str]) -> None:
        self._place = place
        self._port = embedded.free_port(taken)

    def configure(self, tree: dict[str, Any]) -> None:
        """See `Neighbour`."""
        if not tree.get("upstream"):
            tree["upstream"] = [self._upstream(family) for family in FAMILIES]

    def _upstream(self, family: str) -> dict[str, Any]:
        secret = self._place.state.folder / f"simulated-{family}"
        if not secret.exists():
            write_private(secret, f"sim-{family}-key")
        reports = {}
        if family != "glm":  # whose provider publishes none
            admin = self._place.state.folder / f"simulated-{family}-admin"
            if not admin.exists():
                write_private(admin, f"admin-sim-{family}-key")
            reports = {"admin_secret_file": str(admin)}
        origin = f"http://127.0.0.1:{self._port}"
        return {
            "family": family,
            "base_url": origin + FAMILIES[family],
            "messages_base_url": origin + GLM_MESSAGES if family == "glm" else "",
            "allow_private": True,
            "credential": [
                {
                    "name": f"simulated-{family}",
                    "secret_file": str(secret),
                    # What an operator who sells at these shares must not pay more than.
                    "cost_factor": COST_PERCENT / 100,
                    **reports,
                }
            ],
        }

    def words(self) -> list[str]:
        """See `Neighbour`."""
        log = self._place.state.folder / "providers.jsonl"
        port, percent = str(self._port), str(COST_PERCENT)
        return ["--port", port, "--log", str(log), "--cost-percent", percent]

    def answers_at(self) -> tuple[int, str] | None:
        """See `Neighbour`. The gateway finds out by itself."""
        return None

    def url(self) -> str | None:
        """See `Neighbour`."""
        return None


class Payments:
    """Stripe and BTCPay Server. Their pages are shown by the site, under its own origin, so that
    buying works through the two public ports alone."""

    name = "payments"
    module = "corvus_proxy.dev.payments"

    def __init__(self, place: Place, taken: dict[int, str]) -> None:
        self._place = place
        self._port = embedded.free_port(taken)
        self._site_url = f"http://{place.host}:{place.site_port}"

    @property
    def _secrets(self) -> Path:
        return self._place.state.folder / "payments"

    def configure(self, tree: dict[str, Any]) -> None:
        """See `Neighbour`."""
        self._secrets.mkdir(mode=0o700, exist_ok=True)
        for name, prefix in PAYMENT_SECRETS.items():
            if not (self._secrets / name).exists():
                write_private(self._secrets / name, prefix + secrets.token_hex(16))
        # As the operator's file, or this stack, tells visitors.
        self._site_url = tree["brand"]["site_url"]
        tree["demo"]["payments_url"] = here = f"http://127.0.0.1:{self._port}"
        if tree.get("stripe") or tree.get("btcpay"):
            return
        tree["stripe"] = {
            "api_base": here,
            "secret_key_file": str(self._secrets / "stripe-key"),
            "webhook_secret_file": str(self._secrets / "stripe-hook"),
            "checkout_origin": self._site_url,
        }
        tree["btcpay"] = {
            "url": here,
            "store_id": "SimulatedStore",
            "api_key_file": str(self._secrets / "btcpay-key"),
            "webhook_secret_file": str(self._secrets / "btcpay-hook"),
        }

    def words(self) -> list[str]:
        """See `Neighbour`."""
        hooks = f"http://{self._place.host}:{self._place.site_port}/webhooks"
        return [
            "--port",
            str(self._port),
            "--log",
            str(self._place.state.folder / "payments.jsonl"),
            "--secrets",
            str(self._secrets),
            "--page-url",
            f"{self._site_url}/demo/pay",
            "--stripe-hook",
            f"{hooks}/stripe",
            "--btcpay-hook",
            f"{hooks}/btcpay",
        ]

    def answers_at(self) -> tuple[int, str] | None:
        """See `Neighbour`."""
        return self._port, "/control/state"

    def url(self) -> str | None:
        """See `Neighbour`."""
        return f"http://127.0.0.1:{self._port}"


class Mail:
    """A mail server that shows what it received."""

    name = "mail"
    module = "corvus_proxy.dev.mail"

    def __init__(self, place: Place, taken: dict[int, str]) -> None:
        self._place = place
        self._port, self._smtp_port = embedded.free_port(taken), embedded.free_port(taken)

    def configure(self, tree: dict[str, Any]) -> None:
        """See `Neighbour`."""
        if not tree.get("mail"):
            tree["mail"] = {
                "host": "127.0.0.1",
                "port": self._smtp_port,
                "security": "none",
                "sender": "Demonstration <keys@demo.invalid>",
            }

    def words(self) -> list[str]:
        """See `Neighbour`."""
        place = self._place
        return [
            "--host",
            place.listen,
            "--port",
            str(self._port),
            "--smtp-port",
            str(self._smtp_port),
        ]

    def answers_at(self) -> tuple[int, str] | None:
        """See `Neighbour`."""
        return self._port, "/"

    def url(self) -> str | None:
        """See `Neighbour`."""
        return f"http://{self._place.host}:{self._port}"


ALL: tuple[type[Providers] | type[Payments] | type[Mail], ...] = (Providers, Payments, Mail)
"""Which there are, in the order of their start."""
