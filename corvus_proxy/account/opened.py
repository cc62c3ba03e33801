"""The account's endpoints that need the books: imported when the first of them is asked for."""

from collections.abc import Awaitable, Callable

from corvus_proxy import pepper as peppers
from corvus_proxy.account import statements
from corvus_proxy.account.asking import Ask, bad
from corvus_proxy.account.managing import alarms, keys
from corvus_proxy.books.db import Books, BooksUnavailable
from corvus_proxy.errors import LedgerUnavailable, NotFound, NotPermitted, RecordsUnavailable
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.service.keys import BadLimit, NoSuchKey, ServiceRefused
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.till.client import Till, TillUnavailable

CONNECTIONS = 4
"""To Postgres, of one gateway process: statements wait for each other, never for inference."""
RETRY_S = 5
MEMBERS = {"expires": "expires_at"}
"""What the service calls otherwise than a request does."""
Handler = Callable[[Stores, Ask], Awaitable[Reply]]
HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/v1/usage"): statements.usage,
    ("GET", "/v1/requests"): statements.requests,
    ("GET", "/v1/requests/{request_id}"): statements.request,
    ("GET", "/v1/ledger"): statements.ledger,
    ("GET", "/v1/keys"): keys.listing,
    ("POST", "/v1/keys"): keys.create,
    ("GET", "/v1/keys/{key_id}"): keys.show,
    ("PATCH", "/v1/keys/{key_id}"): keys.change,
    ("DELETE", "/v1/keys/{key_id}"): keys.revoke,
    ("POST", "/v1/key/rotate"): keys.rotate,
    ("POST", "/v1/key/freeze"): keys.freeze,
    ("POST", "/v1/key/unfreeze"): keys.unfreeze,
    ("GET", "/v1/generation"): statements.generation,
    ("GET", "/api/v1/generation"): statements.generation,
    ("GET", "/v1/dashboard/billing/usage"): statements.billing_usage,
}


def handlers(settings: Settings) -> dict[tuple[str, str], Handler]:
    """Method and path of each endpoint that needs the books, and who answers it."""
    return HANDLERS | alarms.handlers(private=settings.worker.private_webhooks)


class Opened:
    """The books of one gateway process, and who asks them."""

    def __init__(self, settings: Settings, till: Till, pepper: bytes) -> None:
        self._books = Books(
            settings.database.url, connections=CONNECTIONS, pepper_id=peppers.id_of(pepper)
        )
        self._stores = Stores(till, self._books, pepper)
        self._handlers = handlers(settings)

    async def answer(self, method: str, path: str, ask: Ask) -> Reply:
        """Answers one request. Raises RequestError, ClientGone."""
        try:
            return await self._handlers[method, path](self._stores, ask)
        except BooksUnavailable:
            raise RecordsUnavailable(
                "The database of statements and keys does not answer at the moment. Requests are"
                " served as before, and nothing is lost.",
                retry_after_s=RETRY_S,
            ) from None
        except TillUnavailable:
            raise LedgerUnavailable("The ledger does not answer.", retry_after_s=2) from None
        except BadLimit as error:
            raise bad(MEMBERS.get(error.field, error.field), f"is refused: {error}") from None
        except NoSuchKey as error:
            raise NotFound(f"{str(error).capitalize()}.", param="key_id") from None
        except ServiceRefused as error:
            raise NotPermitted(f"Not done: {error}.") from None

    async def close(self) -> None:
        """Closes the books; Redis is the gateway's."""
        await self._books.close()
