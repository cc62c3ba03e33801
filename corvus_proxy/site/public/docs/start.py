"""Where a reader begins."""

from corvus_proxy.site.public.page import Page

PAGES = (
    Page(
        "/docs",
        "Documentation",
        "Base URLs, models, clients, and where to begin.",
        "docs/home.md",
        group="start",
        eyebrow="Start",
        use_when=("You look for the page on a subject.",),
    ),
)
