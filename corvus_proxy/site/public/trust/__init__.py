"""What a buyer can hold the operator to: facts, checks, proof, law, status."""

from corvus_proxy.site.public.page import Page
from corvus_proxy.site.public.trust import status


def pages() -> tuple[Page, ...]:
    """All of them."""
    return (status.PAGE,)
