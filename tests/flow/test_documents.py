"""What the documents say about the API, said to a running one: every path, every example, every
command of the verification page."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from markdown_it import MarkdownIt

from corvus_proxy.site.public.page import KEY
from tests.stack import RunningStack

Fill = dict[str, str]


@pytest.fixture(scope="module")
def described(stack: RunningStack) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(
        f"{stack.facts['site']}/openapi.json", trust_env=False, timeout=20
    ).json()
    return found


@pytest.fixture
def caller(stack: RunningStack, described: dict[str, Any]) -> Iterator["Caller"]:
    found = Caller(stack, described)
    yield found
    found.close()


class Caller:
    """Calls operations of the description as it describes them."""

    def __init__(self, stack: RunningStack, described: dict[str, Any]) -> None:
        made = stack.new_key("5.00")
        self.secret, self.key_id = made["secret"], made["key_id"]
        self._described = described
        self._client = httpx.Client(trust_env=False, timeout=60)

    def close(self) -> None:
        """Hangs up."""
        self._client.close()

    def call(self, method: str, path: str, fill: Fill, body: Any = None) -> httpx.Response:
        """One operation; `fill` has what stands in the path."""
        item = self._described["paths"][path]
        server = item.get("servers", self._described["servers"])[0]["url"]
        asked = re.sub(r"\{(\w+)\}", lambda name: fill[name[1]], path)
        headers = {"authorization": f"Bearer {self.secret}"}
        public = item[method].get("security") == []
        return self._client.request(
            method.upper(), server + asked, json=body, headers={} if public else headers
        )

    def examples(self, method: str, path: str) -> dict[str, Any]:
        content = self._described["paths"][path][method].get("requestBody", {}).get("content", {})
        found = content.get("application/json", {}).get("examples", {})
        return {name: one["value"] for name, one in found.items()}

    def told(self, method: str, path: str) -> int:
        """The status that a call is described to succeed with."""
        responses = self._described["paths"][path][method]["responses"]
        return next(int(status) for status in responses if status.startswith("2"))


def test_every_example_and_every_path_of_the_description_answers(
    stack: RunningStack, described: dict[str, Any], caller: Caller
) -> None:
    """Each example works as it stands; each path without one answers as it is described to."""
    fill = {"key_id": caller.key_id}
    done: set[tuple[str, str]] = set()

    def run(method: str, path: str, body: Any = None) -> httpx.Response:
        done.add((method, path))
        answer = caller.call(method, path, fill, body)
        assert answer.status_code == caller.told(method, path), (method, path, answer.text[:300])
        kind = answer.headers["content-type"].partition(";")[0]
        contents = described["paths"][path][method]["responses"][str(answer.status_code)]
        assert kind in contents["content"], (method, path, kind)
        return answer

    for path in described["paths"]:
        for body in (
            caller.examples("post", path).values() if "post" in described["paths"][path] else ()
        ):
            if path in ("/v1/keys", "/v1/alarms", "/v1/key/rotate", "/v1/key/unfreeze"):
                continue
            answer = run("post", path, body)
            if path == "/v1/chat/completions" and "stream" not in body:
                fill["request_id"] = answer.headers["x-request-id"]
                fill["slug"] = body["model"]
            if path == "/v1/orders":
                fill["token"] = answer.json()["token"]
    alarm = caller.examples("post", "/v1/alarms")["plain"]
    run("put", "/v1/alarms", caller.examples("put", "/v1/alarms")["plain"])
    fill["alarm_id"] = run("post", "/v1/alarms", alarm).json()["alarm_id"]
    run(
        "patch", "/v1/alarms/{alarm_id}", caller.examples("patch", "/v1/alarms/{alarm_id}")["plain"]
    )
    # Nobody stands behind this name: no test calls a stranger.
    caller.call("patch", "/v1/alarms/{alarm_id}", fill, {"webhook_url": "https://hooks.invalid/a"})
    run("post", "/v1/alarms/{alarm_id}/test")
    own, fill["key_id"] = (
        fill["key_id"],
        run("post", "/v1/keys", caller.examples("post", "/v1/keys")["plain"]).json()["key_id"],
    )
    run("patch", "/v1/keys/{key_id}", caller.examples("patch", "/v1/keys/{key_id}")["plain"])
    run("delete", "/v1/keys/{key_id}")
    fill["key_id"] = own
    until(lambda: caller.call("get", "/v1/requests/{request_id}", fill).json().get("charge"))
    for path, item in described["paths"].items():
        if "get" in item and path not in ("/v1/generation", "/api/v1/generation"):
            run("get", path)
    for path in ("/v1/generation", "/api/v1/generation"):
        done.add(("get", path))
        with_id = caller._client.get(
            f"{stack.api}{path}", params={"id": fill["request_id"]},
            headers={"authorization": f"Bearer {caller.secret}"},
        )  # fmt: skip
        assert with_id.status_code == 200
    run("delete", "/v1/alarms/{alarm_id}")
    secret = run("post", "/v1/key/rotate", caller.examples("post", "/v1/key/rotate")["plain"])
    caller.secret = secret.json()["secret"]
    run("post", "/v1/key/freeze")
    wrong = caller.call("post", "/v1/key/unfreeze", fill, {"recovery_code": "rc-wrong"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (403, "not_permitted")
    done.add(("post", "/v1/key/unfreeze"))
    assert done == {
        (method, path) for path, item in described["paths"].items() for method in item
        if method != "servers"
    }  # fmt: skip


def test_every_member_that_is_described_is_the_endpoints_own(
    stack: RunningStack, described: dict[str, Any], caller: Caller
) -> None:
    """An endpoint that refuses an unknown member names all that it knows."""
    fill = {"key_id": caller.key_id, "alarm_id": "none"}
    checked = []
    for path, item in described["paths"].items():
        for method, one in item.items():
            content = one.get("requestBody", {}).get("content", {}) if method != "servers" else {}
            schema = content.get("application/json", {}).get("schema", {})
            if not schema or one["tags"] == ["inference"] or one["tags"] == ["counting"]:
                continue
            answer = caller.call(method, path, fill, {"no_such_member": 1})
            named = re.search(r"members are: ([\w, ]+)|There is no member [^;]+; ([\w, ]+)",
                              answer.json()["error"]["message"])  # fmt: skip
            if (
                named is None
            ):  # a quote, whose body may be any request's; an alarm that is not there
                assert path in ("/v1/quote", "/v1/alarms/{alarm_id}"), answer.text
                continue
            known = (named[1] or named[2]).rstrip(". ").split(", ")
            assert set(known) == set(schema["properties"]), path
            checked.append(path)
    assert len(checked) >= 6


def until(what: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def blocks(markdown: str) -> list[tuple[str, str, str]]:
    """Heading, language and text of each block that is to be run."""
    found, heading = [], ""
    for token in MarkdownIt().parse(markdown):
        if token.type == "inline" and token.content[:1].isdigit():
            heading = token.content
        language, _, run = token.info.partition(" ")
        if token.type == "fence" and run == "run":
            found.append((heading, language, token.content))
    return found


EXPECTED = {
    "1": r"^200 0$",
    "2": r'"generated_at"',
    "3": r"[1-9]\d* rows, 0 wrong, 0 without a source",
    "4": r'"code":"invalid_api_key".*"charged":"0.00"',
    "5": r"(?s)## The rule.*This is a demonstration",
    "6": r'(?s)"ledger_check": \{.*"ok": true.*"drift_nanos": 0',
    "7": r"(?s)(header +(\S+) USD\nstatement +\2 USD\nbalance +\2 USD\nequal)|x-corvus-cost-usd",
}
NEEDS = {"2": "/status", "3": "/pricing/tracker"}
"""Steps that read what another page of the site publishes."""


def test_every_command_of_the_verification_page_answers_as_it_says(stack: RunningStack) -> None:
    """Pasted as they stand, with a key of one's own in place of the example's."""
    client = httpx.Client(trust_env=False, timeout=20, base_url=stack.facts["site"])
    with contextlib.closing(client):
        _paste_all(stack, client)


def _paste_all(stack: RunningStack, client: httpx.Client) -> None:
    until(lambda: client.get("/data/proof.json").json()["ledger_check"], timeout_s=60)
    made = stack.new_key("1.00")
    ran = []
    for heading, language, text in blocks(client.get("/trust/verify.md").text):
        step = heading.partition(".")[0]
        if client.get(NEEDS.get(step, "/trust")).status_code == 404:
            continue
        shell = [sys.executable, "-c"] if language == "python" else ["bash", "-ec"]
        done = subprocess.run(
            [*shell, text.replace(KEY, made["secret"])],
            capture_output=True, text=True, check=False, timeout=60,
            env={"PATH": "/usr/bin:/bin", "no_proxy": "*"},
        )  # fmt: skip
        assert done.returncode == 0, (heading, done.stderr)
        assert re.search(EXPECTED[step], done.stdout, re.MULTILINE), (heading, done.stdout)
        ran.append(step)
    assert {"1", "4", "5", "6", "7"} <= set(ran)
    assert ran.count("7") == 2
