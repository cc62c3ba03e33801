"""`/control/…`: what tests and the drill ask of the simulated payment services, as JSON.

GET  /control/state       sessions, invoices, messages
GET  /control/log         the rows of the record
POST /control/act         {"id", "act"} and, for BTCPay's `pay`, "share" or "sats"
POST /control/hooks       {"service", "trick": drop | double | hold, "times"} · {"release": true}
                          {"again": id or kind, "how": copy | old | wrong_signature | …}
                          {"service", "url", "secret", "pause_factor"}
POST /control/trouble     {"service", "status" | "cut" | "garbage" | "silent", "times", "slow_s"}
POST /control/set         {"rate", "block_s", "speed"} of the chain
"""

from typing import Any

import msgspec

from corvus_proxy.dev.payments.cards import Cards
from corvus_proxy.dev.payments.coins import Coins
from corvus_proxy.dev.payments.hooks import Hooks


class Trouble(msgspec.Struct, forbid_unknown_fields=True):
    """What the next calls of a service's API meet instead of an answer."""

    service: str
    times: int = 1
    status: int = 0
    """This status, with the service's usual error."""
    cut: bool = False
    """The connection is closed without an answer; the call has been done."""
    garbage: bool = False
    """200 and a page that is no JSON."""
    silent: bool = False
    """Nothing at all, for as long as the peer waits."""
    slow_s: float = 0.0
    """A pause before whatever else happens."""


class Control:
    """The words above, put into effect."""

    def __init__(self, cards: Cards, coins: Coins) -> None:
        self._cards = cards
        self._coins = coins
        self._troubles: list[Trouble] = []

    def take(self, service: str, *, used: bool = True) -> Trouble:
        """The trouble that the next call of a service meets; a `Trouble` without any otherwise.
        Where the call is not the one that it waits for, it is not `used` up."""
        for trouble in self._troubles:
            if trouble.service == service:
                trouble.times -= used
                if trouble.times <= 0:
                    self._troubles.remove(trouble)
                return trouble
        return Trouble(service)

    async def do(self, what: str, wish: dict[str, Any]) -> Any:
        """Does one POST. Raises ValueError, LookupError, Refused, msgspec.ValidationError."""
        match what:
            case "act":
                return self.act(**wish)
            case "hooks":
                return await self._hooks(**wish)
            case "trouble":
                trouble = msgspec.convert(wish, Trouble)
                self._troubles = [t for t in self._troubles if t.service != trouble.service]
                if trouble.times > 0:
                    self._troubles.append(trouble)
                return {"troubles": len(self._troubles)}
            case "set":
                for name, value in wish.items():
                    if name not in ("rate", "block_s", "speed"):
                        raise ValueError(f"no setting {name!r}")
                    setattr(self._coins, name, value)
                return wish
        raise LookupError(f"no /control/{what}")

    def act(self, id: str, act: str, **more: Any) -> Any:  # noqa: A002 -- the word of the JSON
        """Does something to a session or an invoice; returns its new state. Raises LookupError,
        Refused."""
        service: Cards | Coins = self._cards if id in self._cards.objects else self._coins
        acts = service.acts()
        if act not in acts:
            raise LookupError(f"no act {act!r}; there are {', '.join(acts)}")
        acts[act](id, **more)
        if isinstance(service, Cards):
            return service.objects[id]
        return msgspec.to_builtins(service.invoices[id])

    def state(self) -> dict[str, Any]:
        """All there is."""
        return {
            "stripe": list(self._cards.objects.values()),
            "btcpay": msgspec.to_builtins(list(self._coins.invoices.values())),
            "hooks": {
                service.name: [
                    {"id": message.id, "kind": message.kind} for message in service.hooks.made
                ]
                for service in (self._cards, self._coins)
            },
        }

    async def _hooks(
        self,
        service: str = "",
        trick: str = "",
        times: int = 1,
        again: str = "",
        how: str = "copy",
        release: bool = False,
        **places: Any,
    ) -> Any:
        chosen: list[Hooks] = [
            found.hooks for found in (self._cards, self._coins) if service in ("", found.name)
        ]
        if not chosen:
            raise LookupError(f"no service {service!r}")
        for hooks in chosen:
            for name, value in places.items():
                if name not in ("url", "secret", "pause_factor"):
                    raise ValueError(f"hooks have no {name!r}")
                setattr(hooks, name, value)
            if trick:
                hooks.play(trick, times)
        if again:
            for hooks in chosen:
                if any(again in (message.id, message.kind) for message in hooks.made):
                    return {"status": await hooks.again(again, how)}
            raise LookupError(f"no message {again}")
        return {"released": sum(hooks.release() for hooks in chosen) if release else 0}
