"""The operator's questions to the ledger."""

from corvus_proxy.ledger import verify as proof
from corvus_proxy.service.stores import Stores


async def verify(stores: Stores) -> proof.VerifyReport:
    """Compares Redis and the books. Raises TillUnavailable, BooksUnavailable."""
    return await proof.verify(stores.till, stores.books)
