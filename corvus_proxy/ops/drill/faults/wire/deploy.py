"""Faults that an operator makes: two versions side by side, and what changes in mid-stream."""

import asyncio
import hashlib
import shutil
from datetime import UTC, datetime, time, timedelta
from importlib import resources
from pathlib import Path

import corvus_proxy
from corvus_proxy import catalogue, clock
from corvus_proxy.catalogue import timeline
from corvus_proxy.errors import CorvusError
from corvus_proxy.money.event import decode_meta
from corvus_proxy.ops.drill import resp
from corvus_proxy.ops.drill.client import Wish
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.faults.gateway import DRAIN_S, READY_S, UNHEARD, cut_short
from corvus_proxy.ops.drill.stack import GATEWAYS, SLICE_TOKENS
from corvus_proxy.ops.drill.stack.process import Process
from corvus_proxy.service import keys
from corvus_proxy.settings import PricingSettings

SCRIPTS_USED = ("reserve", "settle")
CHANGING = ("gpt-4o-mini", "gpt-4.1")
MIDNIGHT_S = 10.0
"""From the start of a gateway to the midnight of its clock."""
STREAMS = 8


async def restart(scene: Scene, process: Process, variables: dict[str, str]) -> None:
    """An orderly stop, and a start with these variables."""
    process.ask_to_stop()
    if not await process.ended(DRAIN_S + 5):
        raise CorvusError(f"{process.name} has not ended after {DRAIN_S + 5} s")
    scene.stack.environment[process.name] = variables
    process.start()
    for name in GATEWAYS:
        if process is scene.gateway(name):
            await scene.stack.until_ready(name, timeout_s=READY_S)


# -- 39 ---------------------------------------------------------------------------------------


async def two_versions(scene: Scene) -> None:
    """39"""
    folder = scene.stack.folder / "next"
    shas = await asyncio.to_thread(next_version, folder)
    resp.SCRIPT_OF_SHA.update({sha.encode(): name for name, sha in shas.items()})
    variables = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    gateway = scene.gateway(scene.chance.choice(GATEWAYS))
    first, second = scene.chance.sample((gateway, scene.worker), 2)
    await restart(scene, first, variables)
    await scene.wait(0.8, 1.2)
    await restart(scene, second, variables)
    await scene.wait(0.8, 1.2)
    known = await scene.stack.stores.till.redis.script_exists(*(shas[n] for n in SCRIPTS_USED))
    if not all(known):
        scene.violated(f"the next version has not run: Redis knows {known} of {SCRIPTS_USED}")
    await restart(scene, first, {})
    await scene.wait(0.3, 0.6)
    await restart(scene, second, {})


def next_version(folder: Path) -> dict[str, str]:
    """This package with one more comment in every script, in `folder`: the scripts' SHA-1s."""
    package = Path(corvus_proxy.__file__).parent
    copy = folder / package.name
    if not copy.exists():
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "*.c"))
        for path in (copy / "till" / "scripts").glob("*.lua"):
            path.write_text(path.read_text() + "-- The next version.\n")
    return {
        path.stem: hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in (copy / "till" / "scripts").glob("*.lua")
    }


# -- 40 ---------------------------------------------------------------------------------------


async def change_in_midstream(scene: Scene) -> None:
    """40"""
    first, second = scene.chance.sample(GATEWAYS, 2)
    await asyncio.gather(
        new_price(scene, first), new_secret(scene, second), frozen_key(scene, second)
    )


async def new_price(scene: Scene, name: str) -> None:
    """Streams that run while a new price comes into force, and requests after it."""
    slug = scene.chance.choice(CHANGING)
    now = datetime.now(UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
    before, after, path = changed_book(scene, slug, midnight)
    offset_s = int((midnight - now).total_seconds() - MIDNIGHT_S)
    midnight_s = scene.now_s() + (midnight - now).total_seconds() - offset_s
    await restart(
        scene,
        scene.gateway(name),
        {"CORVUS_PRICING_BOOK": str(path), "CORVUS_CLOCK_OFFSET_S": str(offset_s)},
    )
    await asyncio.sleep(midnight_s - scene.chance.uniform(0.8, 1.5) - scene.now_s())
    old = [wish_of(scene, slug, "tokens=50; delay_ms=50") for _ in range(STREAMS)]
    running = [asyncio.create_task(scene.load.send(wish, name)) for wish in old]
    await scene.until(lambda: all(wish.heard for wish in old), "every stream has begun")
    if scene.now_s() > midnight_s:
        raise CorvusError("this machine is too slow to begin streams within a second")
    await asyncio.sleep(midnight_s + 0.1 - scene.now_s())
    new = [wish_of(scene, slug, "tokens=8; delay_ms=5") for _ in range(STREAMS)]
    later = await asyncio.gather(*(scene.load.send(wish, name) for wish in new))
    for answers, version in ((await asyncio.gather(*running), before), (later, after)):
        for answer in answers:
            if why := cut_short(answer):
                scene.violated(f"{answer.wish.tag}: {why}")
        for event in await scene.ends([one.request_id for one in answers if one.request_id]):
            found = decode_meta(event.meta).price_version
            if found != version:
                scene.violated(f"{event.id}: charged at {found}, admitted at {version}")
    await restart(scene, scene.gateway(name), {})


def changed_book(scene: Scene, slug: str, midnight: datetime) -> tuple[str, str, Path]:
    """The shipped price book with another price of one model from a day on: the versions before and
    after it, and the file."""
    text = (resources.files(catalogue) / "models.toml").read_text()
    at = text.index(f'slug = "{slug}"')
    end = text.find("\n[[model]]", at)
    today = clock.utc_now().date()
    shipped = timeline.load(PricingSettings()).at(today).models
    (rates,) = [model.price.rates(0) for model in shipped if model.slug == slug]
    percent = scene.chance.randint(75, 95)
    lower = [f"{picos * percent / 10**8:.6f}" for picos in (rates.input, rates.output)]
    change = (
        f"\n[[model.change]]\nfrom = {midnight.date()}\nannounced = {today - timedelta(days=30)}\n"
        f'price = {{ input = "{lower[0]}", output = "{lower[1]}" }}\n'
    )
    path = scene.stack.folder / "models.toml"
    path.write_text(text[:end] + change + text[end:] if end > 0 else text + change)
    books = timeline.load(PricingSettings(book=str(path)))
    versions = []
    for day in (today, midnight.date()):
        models = books.at(day).models
        scene.stack.prices |= {(model.slug, model.price.version): model.price for model in models}
        versions += [model.price.version for model in models if model.slug == slug]
    return versions[0], versions[1], path


def wish_of(scene: Scene, slug: str, directive: str) -> Wish:
    """A stream of a chat model by one of those who have money."""
    return scene.load.stream(scene.chance.choice(scene.load.rich), directive, ("chat", slug))


async def new_secret(scene: Scene, name: str) -> None:
    """A key gets a new secret in the middle of its stream: the stream goes on."""
    wallet = await scene.load.new_wallet()
    wish = scene.load.stream(wallet, "tokens=100; delay_ms=20", ("messages", "claude-haiku-5-5"))
    running = asyncio.create_task(scene.load.send(wish, name))
    at = scene.chance.randint(3, 60)
    await scene.until(lambda: wish.heard >= at, "the stream runs")
    await scene.load.rotate(wallet)
    if why := cut_short(await running):
        scene.violated(f"{wish.tag}: its key got a new secret, and it ended with {why}")


async def frozen_key(scene: Scene, name: str) -> None:
    """A key is frozen in the middle of its stream: it ends with its slice."""
    wallet = await scene.load.new_wallet()
    wish = scene.load.stream(wallet, "tokens=1500; delay_ms=5", ("chat", "gpt-4o-mini"))
    wish.max_tokens = 2000
    running = asyncio.create_task(scene.load.send(wish, name))
    at = scene.chance.randint(3, 500)
    await scene.until(lambda: wish.heard >= at, "the stream runs")
    await keys.set_frozen(scene.stack.stores, wallet.key_id, frozen=True, reason="drill")
    heard = wish.heard
    answer = await running
    if answer.code != "key_disabled" or answer.whole:
        scene.violated(f"{wish.tag}: its key was frozen, and it ended with {cut_short(answer)}")
    # Of its present slice the rest, and of one that was granted ahead all.
    if answer.deltas > heard + 2 * SLICE_TOKENS:
        scene.violated(f"{wish.tag}: {answer.deltas - heard} tokens after its key was frozen")
    (event,) = await scene.ends([answer.request_id])
    if event.outcome != "key_disabled_midstream":
        scene.violated(f"{answer.request_id}: its key was frozen, booked as {event.outcome}")
    await keys.set_frozen(scene.stack.stores, wallet.key_id, frozen=False, reason="drill")


FAULTS = (
    Fault(
        39,
        "two versions at once",
        "a gateway and the worker are replaced, one after the other, by a version with another text"
        " of every script, and then by the old one again",
        "both versions charge the same wallets; nothing but connections to a gateway that starts"
        " fails",
        two_versions,
        UNHEARD,
    ),
    Fault(
        40,
        "change in mid-stream",
        "a new price comes into force, a secret is rotated, a key is frozen, each in the middle of"
        " streams",
        "what was admitted before is charged at its price, what comes after at the new one; the"
        " rotated stream goes on; the frozen one ends with its slice",
        change_in_midstream,
        UNHEARD,
    ),
)
