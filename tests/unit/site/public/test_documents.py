"""Documents for programs: each answers, counts are the shelf's, the description is whole."""

import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from corvus_proxy import clock, errors
from corvus_proxy.account.orders import CODES
from corvus_proxy.account.routes import ENDPOINTS
from corvus_proxy.catalogue import book
from corvus_proxy.settings import BrandSettings, Settings, TrustSettings
from corvus_proxy.site import public
from corvus_proxy.site.app import create
from corvus_proxy.site.public import documents
from corvus_proxy.site.public.docs.errors import kinds
from corvus_proxy.site.public.documents.plain import PRIVATE
from corvus_proxy.wire.dialect import COUNTING, PATHS
from tests.unit.site.public.visitor import BRAND, SETTINGS, site

pytestmark = pytest.mark.anyio
PAGES = {page.path: page for page in public.pages(book.load(SETTINGS.pricing).models)}
REPORTED = msgspec.structs.replace(
    SETTINGS, trust=TrustSettings(security_contact="mailto:safe@rook.example")
)


async def get(path: str, settings: Settings = REPORTED) -> Any:
    async with site(settings) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, path
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


async def test_every_document_answers_to_anybody_and_only_once() -> None:
    """Open to pages of other sites, with an entity tag, and nothing for who has it already."""
    async with site(REPORTED) as client:
        for one in documents.DOCUMENTS:
            answer = await client.get(one.path)
            assert answer.status_code == 200, one.path
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["content-type"] == one.kind
            again = await client.get(one.path, headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            head = await client.head(one.path)
            assert (head.status_code, head.content) == (200, b"")


async def test_documents_are_closed_with_the_pages() -> None:
    """Before the operator has stated what opens them; robots.txt and the contact are there."""
    closed = msgspec.structs.replace(REPORTED, brand=BrandSettings(site_url=BRAND.site_url))
    async with site(closed) as client:
        for one in documents.DOCUMENTS:
            answer = await client.get(one.path)
            assert answer.status_code == (200 if one.always else 503), one.path
    assert [one.path for one in documents.DOCUMENTS if one.always] == [
        "/robots.txt", "/.well-known/security.txt"]  # fmt: skip


async def test_the_indexes_count_the_shelf() -> None:
    """Every total is the length of what it counts, and every page is there."""
    found = await get("/data/docs-index.json")
    docs = [page for page in PAGES.values() if page.group]
    assert found["totals"]["groups"] == len(found["groups"])
    routes = [route for group in found["groups"] for route in group["routes"]]
    assert [group["route_count"] for group in found["groups"]] == [
        len(group["routes"]) for group in found["groups"]
    ]
    assert [group["position"] for group in found["groups"]] == [*range(1, len(found["groups"]) + 1)]
    assert found["totals"]["docs_routes"] == len(routes) == len(docs)
    assert {route["path"] for route in routes} == {page.path for page in docs}
    assert {route["id"] for route in routes} >= {"docs-home", "docs-getting-started-quickstart"}
    environments = found["environments"]
    assert {one["path"] for one in environments} <= set(PAGES)
    first = sum(one["support"] == "first_class" for one in environments)
    told = [found["totals"][f"{kind}environments"] for kind in ("", "first_class_", "conditional_")]
    assert told == [len(environments), first, len(environments) - first] == [8, 6, 2]
    assert found["generated_on"] == clock.utc_day()
    pages = await get("/data/public-pages.json")
    assert [item["path"] for item in pages["items"]] == list(PAGES)
    assert pages["totals"]["pages"] == len(PAGES) == sum(pages["totals"]["by_kind"].values())
    assert pages["totals"]["documents"] == len(pages["documents"])
    async with site(REPORTED) as client:
        for item in pages["items"]:
            assert (await client.get(item["markdown"])).status_code == 200
        for one in pages["documents"]:
            status = (await client.get(one["path"])).status_code
            assert status == (503 if one["path"] == "/data/proof.json" else 200), one


async def test_llms_sitemap_and_robots_name_pages_that_are_there() -> None:
    llms = await get("/llms.txt")
    assert llms.startswith(f"# {BRAND.name}\n\n> ")
    named = re.findall(r"\]\(" + BRAND.site_url + r"([^)]+)\)", llms)
    twins = {page.twin for page in PAGES.values() if page.listed}
    assert twins <= set(named)
    assert "/data/status.json" in named
    for path in (f"{BRAND.api_url}/v1", BRAND.independence, "never ask for a key in a chat"):
        assert path in llms
    tree = ElementTree.fromstring(await get("/sitemap.xml"))
    places = [one.text for one in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    assert places == [BRAND.site_url + path for path in PAGES]
    robots = await get("/robots.txt")
    assert f"Sitemap: {BRAND.site_url}/sitemap.xml" in robots
    refused = re.findall(r"Disallow: (.+)", robots)
    assert tuple(refused) == PRIVATE
    assert [path for path in PAGES if path.startswith(tuple(refused))] == []


def test_crawlers_are_kept_from_every_private_page() -> None:
    """Each route of the site is public, a document, one of ours for machines, or named."""
    from corvus_proxy.service.stores import Stores

    app = create(Stores(None, None, b"p" * 32), SETTINGS)  # type: ignore[arg-type]
    public_paths = {path for page in PAGES.values() for path in (page.path, page.twin)}
    public_paths |= {one.path for one in public.DOCUMENTS}
    machines = ("/livez", "/readyz", "/static/")
    rest = [
        path for route in app.routes
        if (path := str(getattr(route, "path", ""))) not in public_paths
        and not path.startswith((*PRIVATE, *machines, "/data/", "/status", "/models/"))
    ]  # fmt: skip
    assert [path for path in rest if path not in ("/", "/logout", "/models/{slug}")] == []


async def test_the_contact_for_weaknesses_is_there_where_it_is_stated() -> None:
    """With an end that is less than a year away; without a contact there is no file."""
    told = await get("/.well-known/security.txt")
    fields = dict(line.split(": ", 1) for line in told.splitlines())
    assert fields["Contact"] == "mailto:safe@rook.example"
    assert fields["Canonical"] == f"{BRAND.site_url}/.well-known/security.txt"
    ends = datetime.fromisoformat(fields["Expires"]) - datetime.now(UTC)
    assert 100 < ends.days < 365
    async with site() as client:
        assert (await client.get("/.well-known/security.txt")).status_code == 404
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert "/.well-known/security.txt" not in paths


async def test_the_description_names_every_path_code_and_status_and_nothing_else() -> None:
    """Of the dialects, of the account, of orders; codes are those of the error tree."""
    found = await get("/openapi.json")
    api = {path for path, item in found["paths"].items() if "servers" not in item}
    assert api == {*PATHS, *COUNTING, "/v1/models", "/v1/models/{slug}",
                   *(row.path for row in ENDPOINTS)}  # fmt: skip
    methods = {(method.upper(), path) for path in api for method in found["paths"][path]}
    assert {(row.method, row.path) for row in ENDPOINTS} <= methods
    for row in ENDPOINTS:
        told = found["paths"][row.path][row.method.lower()]
        queries = [one["name"] for one in told.get("parameters", []) if one["in"] == "query"]
        assert tuple(queries) == row.params
    schemas = found["components"]["schemas"]
    assert schemas["ErrorCode"]["enum"] == [kind.code for kind in kinds()]
    assert errors.OutOfBalance.code in schemas["ErrorCode"]["enum"]
    assert "refused" not in schemas["ErrorCode"]["enum"]
    assert schemas["OrderErrorCode"]["enum"] == list(CODES)


async def test_the_description_is_whole() -> None:
    """OpenAPI 3.1 by its structure: references lead somewhere, ids are single, path parameters are
    those of the path, responses have words."""
    found = await get("/openapi.json")
    assert (found["openapi"], bool(found["info"]["title"])) == ("3.1.0", True)
    for reference in re.findall(r'"\$ref":"#/([^"]+)"', msgspec.json.encode(found).decode()):
        at = found
        for part in reference.split("/"):
            at = at[part]
    ids = []
    tags = {tag["name"] for tag in found["tags"]}
    for path, item in found["paths"].items():
        for method, one in item.items():
            if method == "servers":
                continue
            assert method in ("get", "post", "put", "patch", "delete")
            ids.append(one["operationId"])
            assert set(one["tags"]) <= tags
            assert one["summary"]
            within = [p["name"] for p in one.get("parameters", []) if p["in"] == "path"]
            assert within == re.findall(r"\{(\w+)\}", path)
            assert all(p["schema"] for p in one.get("parameters", []))
            assert any(re.fullmatch(r"2\d\d", status) for status in one["responses"])
            for status, answer in one["responses"].items():
                assert re.fullmatch(r"[1-5](\d\d|XX)", status)
                assert "$ref" in answer or answer["description"]
            for kind in one.get("requestBody", {}).get("content", {}).values():
                check(kind["schema"], [v["value"] for v in kind.get("examples", {}).values()])
    assert len(ids) == len(set(ids))


def check(schema: dict[str, Any], examples: list[Any]) -> None:
    """Examples have the members that are required, and of those that are named no other type."""
    kinds: dict[str, Any] = {"string": str, "integer": int, "boolean": bool, "array": list,
                             "object": dict}  # fmt: skip
    for example in examples:
        assert set(schema.get("required", ())) <= set(example)
        for name, value in example.items():
            told = schema["properties"].get(name, {}).get("type")
            for kind in [told] if isinstance(told, str) else told or []:
                if kind in kinds and isinstance(value, kinds[kind]):
                    break
            else:
                assert told is None, name
