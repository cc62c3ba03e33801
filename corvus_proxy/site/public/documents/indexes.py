"""`/data/docs-index.json` and `/data/public-pages.json`: which pages there are, counted."""

from typing import Any

from corvus_proxy.site.public.docs import setups
from corvus_proxy.site.public.document import Document, Given
from corvus_proxy.site.public.envelope import counted, envelope
from corvus_proxy.site.public.page import GROUPS, Facts, Page


def route(page: Page) -> dict[str, str]:
    """A page in a list of pages."""
    return {
        "id": page.id,
        "path": page.path,
        "title": page.title,
        "description": page.description,
    }


def groups(facts: Facts) -> list[dict[str, Any]]:
    """The documentation by its groups, in their order; a group without a page is left out."""
    found: list[dict[str, Any]] = []
    for group in GROUPS:
        routes = [route(page) for page in facts.pages.values() if page.group == group.key]
        if routes:
            found.append({
                "key": group.key,
                "label": group.label,
                "accent": group.accent,
                "position": len(found) + 1,
                "route_count": len(routes),
                "routes": routes,
            })  # fmt: skip
    return found


def documents(given: Given) -> list[dict[str, str]]:
    """Every document for programs: these, and those that pages name as theirs."""
    found = {
        one.path: {"path": one.path, "title": one.title, "description": one.description}
        for one in given.documents
    }
    for page in given.facts.pages.values():
        if page.data in given.served and page.data not in found:
            found[page.data] = {
                "path": page.data,
                "title": page.title,
                "description": page.description,
            }
    return list(found.values())


async def docs_index(given: Given) -> object:
    """The documentation's index."""
    facts = given.facts
    found = groups(facts)
    docs = [page for page in facts.pages.values() if page.group]
    environments = setups.table(facts)
    return envelope(
        facts.settings.brand,
        facts.day,
        "The architecture of the documentation: groups, pages, and clients that are set up.",
        ["the pages", "/data/models.json", "/data/setup-index.json"],
        totals={
            "groups": len(found),
            "docs_routes": sum(group["route_count"] for group in found),
            "docs_routes_indexable": len(docs),
            "environments": len(environments),
            "first_class_environments": sum(one.first_class for one in environments),
            "conditional_environments": sum(not one.first_class for one in environments),
        },
        groups=found,
        environments=[
            {
                "id": one.key,
                "name": one.name,
                "path": one.path,
                "support": "first_class" if one.first_class else "conditional",
                "base_url": one.base_url,
            }
            for one in environments
        ],
    )


async def public_pages(given: Given) -> object:
    """Every public page, and every document for programs."""
    facts = given.facts
    items = [
        {
            **route(page),
            "kind": page.kind,
            "group": page.group or None,
            "url": facts.site + page.path,
            "markdown": page.twin,
            "data": page.data or None,
            "updated": page.updated.isoformat(),
            "related": [path for path in page.related if path in facts.pages],
        }
        for page in facts.pages.values()
    ]
    programs = documents(given)
    return envelope(
        facts.settings.brand,
        facts.day,
        "Every public page with its kind, its Markdown and the document with the same figures.",
        ["the pages"],
        totals={
            "pages": len(items),
            "by_kind": counted(items, "kind"),
            "documents": len(programs),
        },
        items=items,
        documents=programs,
    )


DOCUMENTS = (
    Document(
        "/data/docs-index.json",
        "Index of the documentation",
        "Groups and pages of the documentation, and the clients that are set up, counted.",
        docs_index,
    ),
    Document(
        "/data/public-pages.json",
        "Public pages",
        "Every public page with its kind, its Markdown and the document with the same figures.",
        public_pages,
    ),
)
