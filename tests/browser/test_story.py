"""The whole of it once, for each way to pay: from a visitor to a program that goes on."""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from corvus_proxy.money.amount import NANOS_PER_USD, parse_usd
from tests.browser.people import People
from tests.browser.watch import Visit, visit
from tests.sdks import Counting, anthropic_client, openai_client

if TYPE_CHECKING:
    import anthropic
    import openai
    from playwright.async_api import Browser

DEAR = "gpt-6-astra"
"""40,000 of its tokens cost a dollar."""
WAYS = {"stripe": "Card (Stripe)", "btcpay": "Bitcoin (BTCPay)"}


class Ran(NamedTuple):
    """A program that was pasted into a shell or a file."""

    out: str
    pieces: int
    """In which it came: more than one is a stream."""


async def run(*words: str) -> Ran:
    """Runs it as a customer does, and reads what it prints as it comes."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    pieces = []
    while piece := await process.stdout.read(65536):
        pieces.append(piece)
    complaint = await process.stderr.read()
    assert await process.wait() == 0, complaint.decode()
    return Ran(b"".join(pieces).decode(), len(pieces))


class Program:
    """A customer's program: the two official clients, made once, with one key."""

    def __init__(self, api: str, key: str) -> None:
        self.chat: openai.OpenAI
        self.chat_calls: Counting
        self.messages: anthropic.Anthropic
        self.messages_calls: Counting
        self.chat, self.chat_calls = openai_client(api, key)
        self.messages, self.messages_calls = anthropic_client(api, key)

    def ask(self, tokens: int) -> Any:
        """One answer of so many tokens. Raises openai.RateLimitError."""
        return self.chat.chat.completions.create(
            model=DEAR,
            max_completion_tokens=tokens,
            messages=[{"role": "user", "content": f"[[simulate: tokens={tokens}; delay_ms=0]]"}],
        )

    def ask_messages(self) -> Any:
        """The same in the other dialect. Raises anthropic.RateLimitError."""
        return self.messages.messages.create(
            model="claude-opus-5-5", max_tokens=2000, messages=[{"role": "user", "content": "hi"}]
        )

    def spend(self) -> Any:
        """Asks until nothing is left; the refusal."""
        import openai

        for tokens in (8000, 1000, 100):
            while True:
                try:
                    self.ask(tokens)
                except openai.RateLimitError as refused:
                    if tokens == 100:
                        return refused
                    break
        return None

    def retry(self, until_s: float) -> float:
        """Asks again and again until it is answered; when that was."""
        import openai

        while time.monotonic() < until_s:
            try:
                self.ask(100)
                return time.monotonic()
            except openai.RateLimitError:
                time.sleep(0.1)
        raise AssertionError("it was never answered")


async def pay(buyer: Visit, people: People, provider: str) -> None:
    """Pays what the checkout form asks for, and waits for the confirmation without a click."""
    await people.still()
    await buyer.press("Continue to payment")
    if provider == "stripe":
        await buyer.press(await buyer.page.locator("form.first button").inner_text())
        return
    # A wallet beside the browser scans the picture; then the chain does its part.
    page = await buyer.page.content()
    await people.act(page, "pay")
    title = buyer.page.locator("[data-title]")
    await title.filter(has_text="Your payment was seen").wait_for()
    await people.act(page, "confirm")
    await title.filter(has_text="Paid.").wait_for()


async def look(api: str, path: str, key: str) -> Any:
    """One question of the key about itself."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.get(api + path, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def first_calls(buyer: Visit, folder: Path) -> int:
    """The page's own commands, as pasted; what curl's streams say they cost."""
    told = 0
    for name in ("curl-chat", "curl-messages"):
        ran = await run("/bin/sh", "-c", await buyer.copy(name))
        assert ran.out.count("data: ") > 2, ran.out
        found = re.search(r': corvus {.*"cost_usd":"([0-9.]+)"', ran.out)
        assert found is not None, ran.out[-300:]
        told += parse_usd(found[1])
    for name in ("python-openai", "python-anthropic"):
        script = folder / f"{name}.py"
        script.write_text(await buyer.copy(name))
        ran = await run(sys.executable, str(script))
        assert ran.out.strip()
        assert ran.pieces > 1, ran
    return told


@pytest.mark.anyio
@pytest.mark.parametrize("provider", ["stripe", pytest.param("btcpay", marks=pytest.mark.slow)])
async def test_from_a_visitor_to_a_program_that_goes_on(
    provider: str, browser: "Browser", people: People, tmp_path: Path
) -> None:
    """Home page, checkout, paid, key on the page; its snippets run and stream; the dashboard's cost
    is the API's; spent to zero: one 429 for each client; topped up: the same clients go on, also
    one that was asking all the time."""
    api, site = people.stack.api, people.stack.facts["site"]
    async with visit(browser, site) as buyer:
        await buyer.goto("/")
        await buyer.press("Buy balance")
        if provider != "stripe":
            await buyer.choose(WAYS[provider])
        await buyer.page.get_by_label("Or another amount, in US dollars").fill("1")
        await pay(buyer, people, provider)
        key = await buyer.text("#the-key")
        assert (await look(api, "/v1/key", key))["balance_nanos"] == NANOS_PER_USD
        pasted = await buyer.copy("curl-chat")
        assert key in pasted
        assert buyer.clicks <= 5, "from the home page to what can be pasted"
        told = await first_calls(buyer, tmp_path)
        await people.listed()
        await buyer.press("Open the dashboard")
        await costs_agree(buyer, api, key, told)
        await spent_and_revived(buyer, people, provider, key)
        assert "\n".join(buyer.problems) == ""


async def costs_agree(buyer: Visit, api: str, key: str, told_nanos: int) -> None:
    """The tile, the rows of the page, the API's rows and the key's own word."""
    rows = (await look(api, "/v1/requests", key))["data"]
    assert len(rows) == 4
    spent = sum(row["charge_nanos"] for row in rows)
    assert spent > told_nanos > 0
    assert (await look(api, "/v1/key", key))["spent_nanos"] == spent
    await buyer.goto("/dashboard")
    assert parse_usd(await buyer.text('[data-figure="spent"]')) == spent
    cells = await buyer.page.locator("table.requests td.usd").all_inner_texts()
    assert [parse_usd(cell.strip()) for cell in cells] == [row["charge_nanos"] for row in rows]


async def spent_and_revived(buyer: Visit, people: People, provider: str, key: str) -> None:
    """Down to a 429, up again in the browser."""
    import anthropic

    api = people.stack.api
    program = Program(api, key)
    refused = await asyncio.to_thread(program.spend)
    assert (refused.status_code, refused.body["code"]) == (429, "insufficient_balance")
    left = await look(api, "/v1/key", key)
    assert 0 <= left["balance_nanos"] < NANOS_PER_USD // 100
    calls = program.messages_calls.calls
    with pytest.raises(anthropic.RateLimitError):
        await asyncio.to_thread(program.ask_messages)
    assert program.messages_calls.calls == calls + 1
    calls = program.chat_calls.calls
    with pytest.raises(type(refused)):
        await asyncio.to_thread(program.ask, 4000)
    assert program.chat_calls.calls == calls + 1
    asking = asyncio.create_task(asyncio.to_thread(Program(api, key).retry, time.monotonic() + 60))
    await buyer.goto("/dashboard")
    assert parse_usd(await buyer.text('[data-figure="balance"]')) == left["balance_nanos"]
    await buyer.press("Top up")
    await buyer.page.get_by_label("Or another amount, in US dollars").fill("1")
    if provider != "stripe":
        await buyer.choose(WAYS[provider])
    await pay(buyer, people, provider)
    paid_s = time.monotonic()
    assert await asking - paid_s < 5
    assert (await asyncio.to_thread(program.ask, 100)).usage.completion_tokens == 100
    assert (await asyncio.to_thread(program.ask_messages)).content
    topped = await look(api, "/v1/key", key)
    assert topped["balance_nanos"] > NANOS_PER_USD - NANOS_PER_USD // 10
