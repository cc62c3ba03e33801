"""The status page and its twins, as visitors and programs get them from a folder."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from corvus_proxy import clock
from corvus_proxy.roles.statuses import Press
from corvus_proxy.service.status import DAYS, Folder, State
from corvus_proxy.service.status.document import make
from corvus_proxy.service.status.machine import Machine
from corvus_proxy.service.status.parts import components
from corvus_proxy.service.status.types import Component, History, Note, Reading, Traffic
from corvus_proxy.settings import BrandSettings, Settings, StatusSettings, Upstream
from corvus_proxy.site import public, render
from corvus_proxy.site.public.trust import bars
from corvus_proxy.site.public.trust.showing import PATHS, Showing

BASE = "http://127.0.0.1:1"
KINDS = {"html": "text/html", "md": "text/markdown", "json": "application/json"}


class Published:
    """A folder into which a worker has measured, and a site that serves it."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            brand=BrandSettings(name="Rook & Co"),  # and none of the facts that open other pages
            status=StatusSettings(dir=str(folder)),
            upstream=[Upstream("openai", BASE), Upstream("glm", BASE)],
        )
        self.folder = Folder(str(folder))
        self.parts = components(self.settings, (), shop=True)
        self.history = History()
        pages = public.shelf(Press(self.settings, render.Pages(self.settings)))
        self.showing = Showing(pages, self.folder)

    def measure(self, *down: str, age_s: int = 0, rounds: int = 3) -> None:
        """So many rounds, the last one `age_s` ago; published then."""
        machine = Machine(self.parts, self.history, confirm=2, settle_s=0, gap_s=120)
        now_ms = clock.wall_ms() - age_s * 1000
        for at in range(rounds):
            readings = {
                one.id: Reading(State.DOWN, "It is gone.", "x", State.DOWN)
                if one.id in down
                else Reading(State.OK, probe=State.OK, traffic=Traffic(120, 12, 1))
                for one in self.parts
            }
            machine.take(readings, now_ms - (rounds - 1 - at) * 30_000)
        self.showing.publish(make(self.settings, self.parts, self.history, now_ms))

    async def get(self, path: str) -> httpx.Response:
        app = Starlette(routes=self.showing.routes())
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://site"
        ) as client:
            return await client.get(path)


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


def words(html: str) -> str:
    """What a reader sees of a page, tags left out."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(html)
    return re.sub(r"\s+", " ", " ".join(found))


@pytest.mark.anyio
@pytest.mark.parametrize("path", list(PATHS))
async def test_the_page_is_open_without_the_operators_facts(
    published: Published, path: str
) -> None:
    """In each of its forms, of its own kind, not to be kept for long; data for any origin."""
    published.measure()
    answer = await published.get(path)
    kind = path.partition(".")[2] or "html"
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(KINDS[kind])
    assert answer.headers["cache-control"] == "public, max-age=10"
    assert answer.headers.get("access-control-allow-origin") == ("*" if kind == "json" else None)


@pytest.mark.anyio
async def test_what_is_down_is_said_first_in_word_and_sign(published: Published) -> None:
    """By its title, with the sentence, the time, and the incident's id for the operator."""
    published.measure()
    published.measure("checkout", rounds=4)
    published.history.incidents[0].notes = [Note(clock.wall_ms(), "We | *look* <b>into</b> it.")]
    published.measure("checkout", rounds=1)
    page = words((await published.get("/status")).text)
    assert "■ Not available: Checkout." in page
    assert "■ down: It is gone." in page
    assert published.history.incidents[0].id in page
    assert "from the operator: We | *look* <b>into</b> it." in page
    assert page.count("● works") == 2 * (len(published.parts) - 1)  # picture and table
    assert "1 of 12 failed" in page


@pytest.mark.anyio
async def test_before_the_first_check_all_is_being_checked(published: Published) -> None:
    """No worker has published, or its first round is under way."""
    page = words((await published.get("/status")).text)
    assert "Checking." in page
    assert page.count("○ checking") == 2 * len(published.parts)
    document = msgspec.json.decode((await published.get("/status.json")).content)
    assert {one["state"] for one in document["components"]} == {"unknown"}
    assert {one["checked_at"] for one in document["components"]} == {None}


@pytest.mark.anyio
async def test_when_nobody_measures_nothing_is_known(published: Published) -> None:
    """What was known last, and when, in every form; no part is told as working."""
    published.measure(age_s=3600)
    for path in PATHS:
        text = (await published.get(path)).text
        assert "● works" not in text
        assert '"state":"ok","detail"' not in text
    page = words((await published.get("/status")).text)
    assert "The checks have stopped. This was known at" in page
    assert "Last known: ok." in page
    assert "○ unknown" in page


@pytest.mark.anyio
async def test_all_forms_are_of_one_document(published: Published) -> None:
    """The files that the worker made are what the site serves."""
    published.measure("login")
    for path, name in PATHS.items():
        assert (await published.get(path)).content == published.folder.read(name)
    document = msgspec.json.decode((await published.get("/data/status.json")).content)
    twin = (await published.get("/status.md")).text
    for one in document["components"]:
        assert f"| {one['title']} |" in twin
    for key in ("components", "incidents", "generated_at", "checks", "state"):
        assert key in document
    assert {"state", "since", "probe", "traffic", "days"} <= set(document["components"][0])


@pytest.mark.anyio
async def test_ninety_days_of_every_route_are_a_small_page(published: Published) -> None:
    """A page on a phone's connection, with the worst history that there can be."""
    every = [Upstream(family, BASE, messages_base_url=BASE) for family in
             ("anthropic", "openai", "glm")]  # fmt: skip
    published.settings = msgspec.structs.replace(published.settings, upstream=every)
    published.parts = components(published.settings, (), shop=True)
    start_ms = clock.wall_ms() - (DAYS - 1) * 86_400_000
    machine = Machine(published.parts, published.history, confirm=1, settle_s=0, gap_s=10**9)
    for day in range(DAYS):
        for at, state in enumerate((State.OK, State.DEGRADED, State.DOWN)):
            readings = {one.id: Reading(state, "It is gone.") for one in published.parts}
            machine.take(readings, start_ms + day * 86_400_000 + at * 600_000)
    published.measure()
    html = (await published.get("/status")).content
    assert len(html) < 30_000


def test_a_bar_is_told_by_its_height_too() -> None:
    """A line a state, over all days; the sentence beside it."""
    part = Component("a", "A & B", "")
    history = History()
    machine = Machine((part,), history, confirm=1, settle_s=0, gap_s=100)
    for at in range(3):
        machine.take({"a": Reading(State.DOWN if at else State.OK)}, at * 30_000)
    (shown,) = make(Settings(), (part,), history, 60_000).components
    picture = str(bars.bars(shown, datetime.fromtimestamp(0, UTC).date()))
    assert picture.count("<path") == 2
    spans = [int(span) for span in re.findall(r"h(\d+)", picture)]
    assert sum(spans) == DAYS * bars.STEP
    assert "A &amp; B: 1 of the last 90 days measured, 1 with trouble" in picture
    assert len(set(bars.HEIGHTS.values())) == len(State)


@pytest.mark.parametrize(
    ("ppm", "told"),
    [
        (None, "–"),
        (10**6, "100.000 %"),
        (999_999, "99.999 %"),
        (997_680, "99.768 %"),
        (5, "0.000 %"),
    ],
)
def test_a_share_is_rounded_down(ppm: int | None, told: str) -> None:
    """What was down at all is never 100 %."""
    assert bars.share(ppm) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_660, "1 h 01 min")]
)
def test_spans_are_told_in_fitting_units(seconds: int, told: str) -> None:
    """Seconds, minutes, hours."""
    assert bars.minutes(seconds) == told
