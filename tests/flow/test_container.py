"""The image as an engine runs it: built from the Dockerfile, its own entrypoint and user, a volume.

What chroot isolation cannot show is told in docs/container.md.
"""

import re
import shutil
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from corvus_proxy.ops import embedded
from tests.container import HOME, Container, Workshop, until_ready

pytestmark = pytest.mark.slow
USD = 10**9
COMPILERS = "gcc cc c++ clang tcc as ld make pip pip3"
IMAGE_BYTES_MAX = 400_000_000


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """The image, built once."""
    made = Workshop(tmp_path_factory.mktemp("images"))
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture
def volume(workshop: Workshop, tmp_path: Path) -> Path:
    """A folder as an engine makes a volume of the image: its owner is the image's user."""
    folder = tmp_path / "volume"
    folder.mkdir()
    one = workshop.create()
    owner = (workshop.mounted(one) / HOME.lstrip("/")).stat()
    workshop.call("umount", one)
    workshop.delete(one)
    shutil.chown(folder, owner.st_uid, owner.st_gid)
    return folder


def form(page: str, after: str) -> tuple[str, dict[str, str]]:
    """Where the first form behind `after` goes to, and what a browser sends with it."""
    text = page[page.index(after) :]
    head, text = text.split(">", 1)
    action = re.search(r'action="([^"]*)"', head)
    found = {}
    for tag in re.findall(r"<input[^>]*>", text[: text.index("</form>")]):
        attribute = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if attribute.get("type") != "radio" or " checked" in tag:
            found[attribute["name"]] = unescape(attribute.get("value", ""))
    return action[1] if action else "", found


def buy(site: str, usd: str) -> str:
    """A key, as a browser without a script buys it through the site alone."""
    with httpx.Client(base_url=site, trust_env=False, follow_redirects=True, timeout=30) as browser:
        _, fields = form(browser.get("/checkout").text, '<form class="card order"')
        page = browser.post("/checkout", data={**fields, "amount": usd, "provider": "stripe"})
        assert page.status_code == 200, page.text
        assert str(page.url).startswith(f"{site}/demo/pay/"), page.url
        action, fields = form(page.text, '<form class="first"')
        page = browser.post(page.url.join(action), data=fields)
        assert str(page.url).startswith(f"{site}/orders/"), page.url
        order = page.url.copy_with(query=None)
        deadline = time.monotonic() + 30
        while not (found := re.search(r"sk-corvus_\w{46}", browser.get(order).text)):
            assert time.monotonic() < deadline, browser.get(f"{order}.json").text
            time.sleep(0.2)
        return found[0]


def stream(api: str, key: str) -> str:
    """One answer, by the SDK."""
    client = openai.OpenAI(
        base_url=f"{api}/v1", api_key=key, http_client=openai.DefaultHttpxClient(trust_env=False)
    )
    with client:
        return "".join(
            part.choices[0].delta.content or ""
            for part in client.chat.completions.create(
                model="gpt-5.5", stream=True, messages=[{"role": "user", "content": "Hello"}]
            )
            if part.choices
        )


def standing(api: str, key: str) -> dict[str, Any]:
    """`GET /v1/key` once nothing is held."""
    headers = {"authorization": f"Bearer {key}"}
    deadline = time.monotonic() + 10
    while True:
        found: dict[str, Any] = httpx.get(f"{api}/v1/key", headers=headers, trust_env=False).json()
        if found.get("held_nanos") == 0:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_container_survives_deletion(workshop: Workshop, volume: Path) -> None:
    """Buy, stream, delete the container while it runs, start another on its volume: the same
    balance, and books that agree. Then once more, stopped in order, with a root that is
    read-only."""
    one = Container(workshop, volume)
    try:
        first_s = one.start()
        assert one.health().stdout == "ok\n"
        key = buy(one.site, "20")
        assert standing(one.api, key)["balance_nanos"] == 20 * USD
        assert stream(one.api, key)
        before = standing(one.api, key)
        assert 0 < before["spent_nanos"] == 20 * USD - before["balance_nanos"]
        _one_role_alone(one, volume, key)
        before = standing(one.api, key)
        demo_key = one.facts["demo_key"]
        one.kill()
        assert one.health().returncode == 1
        root = workshop.mounted(one.name)
    finally:
        one.delete()
    assert not root.exists()
    two = Container(workshop, volume)
    try:
        second_s = two.start()
        assert standing(two.api, key)["balance_nanos"] == before["balance_nanos"]
        assert two.facts["demo_key"] == demo_key
        _books_agree(two)
        assert stream(two.api, key)
        after = standing(two.api, key)
        assert after["balance_nanos"] < before["balance_nanos"]
        _books_agree(two)
        two.stop()
        assert not (volume / "state" / "up.json").exists()
    finally:
        two.delete()
    three = Container(workshop, volume)
    try:
        third_s = three.start_boxed()
        assert Path(f"/proc/{three.first_pid}/status").read_text().count("\t1\n")
        assert standing(three.api, key)["balance_nanos"] == after["balance_nanos"]
        assert stream(three.api, key)
        three.stop()
    finally:
        three.delete()
    print(f"started in {first_s:.1f} s, {second_s:.1f} s, read-only {third_s:.1f} s")


def _books_agree(container: Container) -> None:
    """`corvus ledger verify` in the container; the image knows its state folder."""
    found = container.command("ledger", "verify")
    assert (found["ok"], found["drift_nanos"]) == (True, 0)


def _one_role_alone(container: Container, volume: Path, key: str) -> None:
    """A gateway from the same image on the stores of the one that runs: it serves, says that it is
    well, and ends when it is told to."""
    port = embedded.free_port()
    variables = {
        "CORVUS_CONFIG": f"{HOME}/state/up.toml",
        "CORVUS_STATE": "/none",
        "CORVUS_GATEWAY_PORT": str(port),
        "CORVUS_LEDGER_JOURNAL_DIR": f"{HOME}/alone",
    }
    role, log = container.start_role("gateway", **variables)
    try:
        until_ready(f"http://127.0.0.1:{port}", role, log)
        assert stream(f"http://127.0.0.1:{port}", key)
        assert container.health(**variables).returncode == 0
    finally:
        container.end_role(role)


def test_the_image_has_no_compiler_and_is_small(workshop: Workshop, volume: Path) -> None:
    """Nor an installer; its user is not root, and cannot change the program."""
    config = workshop.config()
    one = Container(workshop, volume)
    try:
        found = one.inside("sh", "-c", f"command -v {COMPILERS}; true").stdout
        assert found == ""
        assert one.inside("id", "-un").stdout.strip() == config.user == "corvus"
        places = ("/opt", "/usr", "/etc")
        # It ends with 1 where a folder is not even open to be looked into.
        found = one.inside("find", *places, "-writable", "!", "-type", "l", check=False).stdout
        assert found == ""
        assert one.inside("corvus", "--version").stdout.strip()
    finally:
        one.delete()
    print(f"image of {config.size_bytes / 1e6:.0f} MB")
    assert config.size_bytes < IMAGE_BYTES_MAX


def test_a_volume_of_somebody_else_is_refused_with_a_sentence(
    workshop: Workshop, volume: Path
) -> None:
    """A folder that root made, mounted as it is."""
    shutil.chown(volume, 0, 0)
    one = Container(workshop, volume)
    try:
        done = one.inside(*one.whole(), check=False)
    finally:
        one.delete()
    assert done.returncode == 1
    assert f"{HOME}/state" in done.stderr
    assert "10001" in done.stderr
    assert "Traceback" not in done.stderr
