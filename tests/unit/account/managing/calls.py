"""The account's endpoints as a client calls them."""

from typing import Any

import msgspec

from corvus_proxy.account.routes import Account
from corvus_proxy.gateway import admission
from corvus_proxy.service.stores import Stores

PEPPER = b"p" * 32


class Sent:
    """A client that has sent one request."""

    def __init__(self, method: str, address: str, secret: str, body: Any) -> None:
        self.method = method
        self.path, _, query = address.partition("?")
        self.query = query.encode()
        self.headers = [(b"authorization", b"Bearer " + secret.encode())]
        self._body = b"" if body is None else msgspec.json.encode(body)

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        return self._body


class Api:
    """The account's endpoints as a client calls them."""

    def __init__(self, stores: Stores, account: Account) -> None:
        self.stores, self._account = stores, account

    async def __call__(self, method: str, address: str, secret: str, body: Any = None) -> Any:
        sent: Any = Sent(method, address, secret, body)
        assert method in self._account.methods(sent.path), address
        caller = admission.caller(sent.headers, PEPPER)
        reply = await self._account.answer(sent, caller)
        assert isinstance(reply.body, bytes)
        return msgspec.json.decode(reply.body)
