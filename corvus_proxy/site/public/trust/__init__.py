"""What a buyer can hold the operator to: facts, checks, proof, law, status."""

from corvus_proxy.site.public.page import Page


def pages() -> tuple[Page, ...]:
    """All of them."""
    return ()
