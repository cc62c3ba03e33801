"""The README says what the program prints, shows what exists, and names every document."""

import re
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

from bench import results
from bench.render import readme as measured
from corvus_proxy.ops import foreground
from corvus_proxy.ops.launcher import Stack
from corvus_proxy.ops.launcher.neighbours import FAMILIES
from corvus_proxy.settings import Credential, Settings, Upstream
from tests.browser import pictures
from tests.readme import README, ROOT, fences, missing

IMAGES = ROOT / "docs" / "images"
ADDRESSES = ("api", "site", "console", "status", "payments", "mail")
PORTS = {"gateway": 8080, "site": 8081, "console": 8082, "worker": 8083}


def demonstration() -> Any:
    """As much of a running stack as its message tells of."""
    credential = Credential(name="simulated", cost_factor=0.3)
    upstream = [Upstream(one, "http://127.0.0.1:1", credential=[credential]) for one in FAMILIES]
    summary = dict.fromkeys(ADDRESSES, "http://127.0.0.1:1") | {"state": "/s", "data": "/s"}
    return SimpleNamespace(
        settings=Settings(upstream=upstream), summary=lambda: summary, demo_key="sk-corvus_x"
    )


def test_what_up_prints_is_shown() -> None:
    """Line by line, but for what differs each time and what is marked as left out."""
    command, shown = fences()[:2]
    assert command.text == "./corvus up\n"
    printed = foreground.message(cast(Stack, demonstration())) + "Ctrl-C stops everything."
    assert missing(shown.text, printed) == []


def test_what_was_measured_is_current() -> None:
    """`./corvus bench --render`."""
    text = README.read_text()
    assert measured.text(text, results.read()) == text


def test_pictures_are_made_by_the_command_and_small() -> None:
    """`python -m tests.browser.pictures`; what is shown is there, and told in words."""
    shown = re.findall(
        r'<img src="docs/images/([^"]+)" width="\d+" alt="[^"]{20,}"', README.read_text()
    )
    assert len(shown) == README.read_text().count("<img ")
    made = {f"{one.name}.png" for one in pictures.PICTURES}
    assert set(shown) - made == {"architecture.svg"}
    assert {path.name for path in IMAGES.iterdir()} == set(shown)
    for path in IMAGES.iterdir():
        assert path.stat().st_size <= pictures.BYTES_MAX


def test_the_picture_of_the_processes_names_them() -> None:
    """Every role with the port that `up` gives it, and the rows of the table of processes."""
    tree = ElementTree.parse(IMAGES / "architecture.svg")
    words = [one.text or "" for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## The processes")[2]
    roles = re.findall(r"^\| (\w+) \| ", table.partition("##")[0], re.MULTILINE)[1:]
    assert set(roles) == set(PORTS)
    defaults = pictures.PORTS
    assert list(defaults.values()) == list(PORTS.values())
    for role, port in PORTS.items():
        place = words.index(role)
        assert f":{port}" in words[place + 1]


def test_every_document_is_named() -> None:
    """A reader finds each from the first page."""
    text = README.read_text()
    documents = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert [name for name in documents if f"](docs/{name})" not in text] == []
