"""A gateway's account endpoints over real stores, and one wallet."""

from collections.abc import AsyncIterator

import pytest

from corvus_proxy.account.quote import Sold
from corvus_proxy.account.routes import Account
from corvus_proxy.books.db import Books
from corvus_proxy.catalogue.book import Book
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import DatabaseSettings, Settings
from corvus_proxy.till.client import Till
from tests.unit.account.managing.calls import PEPPER, Api


@pytest.fixture
async def api(valkey_till: Till, books: Books) -> AsyncIterator[Api]:
    settings = Settings(database=DatabaseSettings(url=books._url))
    sold = Sold(settings, lambda: Book(()), lambda family, dialect: True)
    account = Account(settings, valkey_till, PEPPER, sold)
    yield Api(Stores(valkey_till, books, PEPPER), account)
    await account.close()


@pytest.fixture
async def made(api: Api) -> keys.Created:
    return await keys.create(api.stores, credit_nanos=2_000_000_000, label="mine")
