"""`python -m tests.security`: how much is tried, counted from the tables themselves.

The figures of docs/security.md; `tests/tidy/test_security_document.py` compares the two.
"""

from corvus_proxy.books.db import Books
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.site import public
from corvus_proxy.site.front import Front
from corvus_proxy.till.client import Till
from tests.fuzz import engine
from tests.fuzz.targets import TARGETS
from tests.security import test_bodies, test_doors
from tests.security.people import API, SITE
from tests.security.smuggling import CASES
from tests.security.tables import (
    API_TABLE,
    CONSOLE_COLUMNS,
    CONSOLE_TABLE,
    SITE_TABLE,
    STATUS,
    STATUS_ASKED_BY,
)


def public_pages() -> int:
    """Addresses that everybody may read; no store is asked to count them."""
    nowhere = Stores(
        Till.open("redis://127.0.0.1:1", timeout_ms=1000),
        Books("postgresql://127.0.0.1:1/none"),
        b"p" * 32,
    )
    return len(public.routes(Front(nowhere, Settings(), {})))


def figures() -> dict[str, int]:
    """What is counted, by what it is called in the document."""
    api, site = len(API_TABLE) * len(API), len(SITE_TABLE) * len(SITE)
    pages, status = public_pages() * len(SITE), len(STATUS) * len(STATUS_ASKED_BY)
    console = len(CONSOLE_TABLE) * sum(map(len, CONSOLE_COLUMNS.values()))
    return {
        "routes of the API port": len(API_TABLE),
        "kinds of callers there": len(API),
        "cells of the API port": api,
        "routes of the site that are no public page": len(SITE_TABLE),
        "kinds of browsers": len(SITE),
        "cells of these": site,
        "cells of public pages": pages,
        "cells of the console": console,
        "cells of the status port": status,
        "cells in all": api + site + pages + console + status,
        "malformed and smuggling requests": len(CASES),
        "hostile bodies and bombs": len(test_bodies.PLAIN) + len(test_bodies.BOMBS),
        "addresses that no notice goes to": len(test_doors.LITERAL) + len(test_doors.NUMBERS)
        + 2 * len(test_doors.NAMED),
        "fuzz targets": len(TARGETS),
        "inputs in their corpora": sum(len(engine.corpus(name)) for name in TARGETS),
    }  # fmt: skip


def main() -> None:
    """Prints them, as the document has them."""
    for name, count in figures().items():
        print(f"| {name} | {count:,} |")


if __name__ == "__main__":
    main()
