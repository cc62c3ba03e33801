"""The site as a browser without JavaScript meets it."""

import re
from html import unescape

import httpx
import pytest

from corvus_proxy import secret
from corvus_proxy.money.amount import format_usd
from tests.stack import RunningStack


def browser(stack: RunningStack) -> httpx.Client:
    return httpx.Client(base_url=stack.facts["site"], trust_env=False, follow_redirects=False)


def log_in(client: httpx.Client, key: str, **headers: str) -> httpx.Response:
    return client.post("/login", data={"key": key}, headers=headers)


def test_the_dashboard_shows_what_the_ledger_knows(stack: RunningStack) -> None:
    """Log in with the key; tiles, requests and models are the service's own figures."""
    key = stack.new_key("2")
    for slug in ("gpt-4o-mini", "glm-5.3"):
        body = {"model": slug, "messages": [{"role": "user", "content": "hi"}]}
        assert stack.ask("/v1/chat/completions", body, key=key["secret"]).status_code == 200
    standing = stack.settled(key["key_id"])
    for _ in range(50):
        if not stack.command("ledger", "verify")["undrained"]:
            break
    with browser(stack) as client:
        assert client.get("/").headers["location"] == "/login"
        assert client.get("/dashboard").headers["location"] == "/login"
        answer = log_in(client, f"  {key['secret']} ")
        assert answer.headers["location"] == "/dashboard"
        assert key["secret"] not in answer.headers["set-cookie"]
        page = client.get("/dashboard")
        text = unescape(page.text)
        for name in ("balance", "available", "held", "spent"):
            shown = re.search(rf'data-figure="{name}">([^<]+)<', text)
            assert shown
            assert shown[1] == format_usd(standing[f"{name}_nanos"])
        assert "gpt-4o-mini" in text
        assert "glm-5.3" in text
        assert text.count("req_") >= 2
        assert key["secret"] not in text
        twin = client.get("/dashboard.json").json()
        assert twin["balance_nanos"] == standing["balance_nanos"]
        assert client.post("/logout").headers["location"] == "/login"
        assert client.get("/dashboard").status_code == 303


def test_every_page_has_its_headers_and_no_third_party(stack: RunningStack) -> None:
    """Strict policy, nothing cached, nothing from elsewhere, small."""
    with browser(stack) as client:
        for path in ("/login", "/nowhere"):
            page = client.get(path)
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["x-content-type-options"] == "nosniff"
            assert not re.findall(r"https?://(?!127\.0\.0\.1)", page.text)
        size = len(client.get("/login").content)
        for asset in ("/static/app.css", "/static/app.js"):
            found = client.get(asset)
            assert found.status_code == 200
            size += len(found.content)
        assert size < 60_000


@pytest.mark.parametrize("key", ["", "nonsense", "unknown", "x" * 5000])
def test_a_wrong_key_opens_nothing(stack: RunningStack, key: str) -> None:
    """The same answer to all, and no session."""
    text = secret.new_secret(secret.new_wallet_id()) if key == "unknown" else key
    with browser(stack) as client:
        answer = log_in(client, text)
        assert answer.status_code in (401, 413, 429)
        assert "set-cookie" not in answer.headers


def test_foreign_forms_and_forged_cookies_are_refused(stack: RunningStack) -> None:
    """Another origin cannot log in or out for somebody; a changed cookie is no cookie."""
    with browser(stack) as client:
        answer = log_in(client, stack.demo_key, **{"sec-fetch-site": "cross-site"})
        assert answer.status_code == 403
        assert log_in(client, stack.demo_key, origin="https://evil.example").status_code == 403
        client.cookies.set("session", "WyJ3X3giLCJrZXlfeCJd.aaaa.bbbb")
        assert client.get("/dashboard").status_code == 303


def test_too_many_tries_from_one_address_wait(stack: RunningStack) -> None:
    """Five a minute."""
    with browser(stack) as client:
        codes = [log_in(client, "wrong").status_code for _ in range(8)]
    assert 429 in codes
