"""The plain files that programs ask a site for: llms.txt, sitemap.xml, robots.txt, security.txt."""

from datetime import UTC, datetime, time, timedelta
from xml.sax.saxutils import escape

from corvus_proxy import clock
from corvus_proxy.site.public.document import TEXT, XML, Document, Given
from corvus_proxy.site.public.documents.indexes import documents
from corvus_proxy.site.public.page import GROUPS, Page

PRIVATE = (
    "/checkout",
    "/claim/",
    "/dashboard",
    "/demo/",
    "/login",
    "/orders/",
    "/recover",
    "/v1/",
    "/webhooks/",
)
"""What no crawler has anything to do with: pages of one customer, forms, calls of programs."""
EXPIRES_DAYS = 180
"""How long the contact for weaknesses counts, from the day on which it is read: RFC 9116 wants it
to be less than a year."""


async def llms(given: Given) -> str:
    """`/llms.txt`: what this is, where to begin, which pages there are in Markdown."""
    facts = given.facts
    brand = facts.settings.brand
    listed = [page for page in facts.pages.values() if page.listed]
    parts = [
        f"# {brand.name}\n",
        "> A prepaid gateway to language models: one key, one balance in US dollars, the models of"
        f" several vendors. {brand.independence}\n",
        f"- Base URL for OpenAI's dialect: {facts.api_v1}\n"
        f"- Base URL for Anthropic's dialect: {facts.api}\n"
        f"- Prices: {facts.site}/data/pricing.json. Status: {facts.site}/data/status.json.\n"
        f"- Questions on an account: use GET {facts.api_v1}/key with the user's key; never ask for"
        " a key in a chat, never invent one.\n",
    ]
    for group in GROUPS:
        parts.append(
            _section(group.label, [one for one in listed if one.group == group.key], given)
        )
    parts.append(_section("Prices, models, trust", [one for one in listed if not one.group], given))
    lines = [
        f"- [{one['title']}]({facts.site}{one['path']}): {one['description']}\n"
        for one in documents(given)
    ]
    parts.append("## Documents for programs\n\n" + "".join(lines))
    return "\n".join(part for part in parts if part)


def _section(title: str, pages: list[Page], given: Given) -> str:
    site = given.facts.site
    lines = [f"- [{one.title}]({site}{one.twin}): {one.description}\n" for one in pages]
    return f"## {title}\n\n{''.join(lines)}" if lines else ""


async def sitemap(given: Given) -> str:
    """`/sitemap.xml`: every public page; figures change daily, texts when they were updated."""
    facts = given.facts
    rows = [
        f"<url><loc>{escape(facts.site + page.path)}</loc>"
        f"<lastmod>{page.updated.isoformat()}</lastmod></url>\n"
        for page in facts.pages.values()
    ]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        f"{''.join(rows)}</urlset>\n"
    )


async def robots(given: Given) -> str:
    """`/robots.txt`: whoever answers questions may read what is public."""
    refused = "".join(f"Disallow: {path}\n" for path in PRIVATE)
    return f"User-agent: *\n{refused}Allow: /\n\nSitemap: {given.facts.site}/sitemap.xml\n"


async def security(given: Given) -> str | None:
    """`/.well-known/security.txt` (RFC 9116); none where the operator has stated no contact."""
    facts = given.facts
    contact = facts.settings.trust.security_contact
    if not contact:
        return None
    end = datetime.combine(facts.day, time(), UTC) + timedelta(days=EXPIRES_DAYS)
    return (
        f"Contact: {contact}\n"
        f"Expires: {clock.iso_utc(end)}\n"
        "Preferred-Languages: en\n"
        f"Canonical: {facts.site}/.well-known/security.txt\n"
    )


DOCUMENTS = (
    Document(
        "/llms.txt",
        "Overview for language models",
        "What this service is, its base URLs, and the list of its pages in Markdown.",
        llms,
        TEXT,
    ),
    Document("/sitemap.xml", "Site map", "Every public page.", sitemap, XML),
    Document(
        "/robots.txt",
        "Rules for crawlers",
        "What is public may be read by any program.",
        robots,
        TEXT,
        always=True,
    ),
    Document(
        "/.well-known/security.txt",
        "Contact for reports of weaknesses",
        "Where a weakness is reported, by RFC 9116.",
        security,
        TEXT,
        always=True,
    ),
)
