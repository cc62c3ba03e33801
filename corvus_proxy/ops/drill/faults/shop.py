"""Faults of money that comes in: messages of payment services, payments taken back, the applier
killed."""

import asyncio
import json
from typing import Any, NamedTuple

from corvus_proxy.errors import CorvusError
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.links import DOWN, Seen
from corvus_proxy.ops.drill.stack import PAYMENT_SECRETS, answers
from corvus_proxy.ops.drill.workload import RICH_NANOS
from corvus_proxy.upstream.httpx_client import Caller, Fetched

USD = 10**9
SERVICES = ("stripe", "btcpay")
PAID = {"stripe": ("pay",), "btcpay": ("pay", "confirm")}
"""What makes a payment confirmed."""
TOLD = {"stripe": "checkout.session.completed", "btcpay": "InvoiceSettled"}
"""The message that says so."""
FORGED = {
    "stripe": ("old", "wrong_signature", "unsigned", "altered"),
    # BTCPay signs no time; an old message of it is a true one.
    "btcpay": ("wrong_signature", "unsigned", "altered"),
}
COPIES = 10
STORMS = 12
FEW = 24
"""Clients meanwhile: messages and questions take their share of the machine."""
CREDITED_S = 30.0
CREDITED = "select coalesce(bool_and(credited_nanos >= amount_nanos), true) from shop_order where "
WALLET = """
select wallet, receivable_nanos, frozen_by
from wallet join shop_order using (wallet) where order_id = $1
"""


class Order(NamedTuple):
    """An order of the drill."""

    order_id: str
    reference: str
    """The payment service's name of it."""
    token: str = ""
    """Of its page."""


class Counter:
    """The shop of the drill's stack, bought from as a program buys, and what its payment services
    are told to do."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._stack = scene.stack
        self._caller = Caller(timeout_s=15)

    async def __aenter__(self) -> "Counter":
        await self.open()
        return self

    async def open(self) -> None:
        """Starts what does not run."""
        stack = self._stack
        for process, path in ((stack.payments, "/control/state"), (stack.site, "/livez")):
            process.start()
            port = stack.ports[process.name]
            await self._scene.until(
                lambda port=port, path=path: answers(port, path),  # type: ignore[misc]
                f"{process.name} answers",
            )

    async def __aexit__(self, *error: object) -> None:
        await self._caller.close()

    async def order(self, service: str, amount: str, *, secret: str = "") -> Order:
        """An order for a new key, or for the one of `secret`. Raises CorvusError."""
        answer = await self._post(
            "site",
            "/v1/orders",
            {"amount": amount, "provider": service},
            {"authorization": f"Bearer {secret}"} if secret else {},
        )
        if answer.status != 201:
            raise CorvusError(f"no order: {answer.status} {answer.body[:200]!r}")
        found = json.loads(answer.body)
        return Order(found["order_id"], found["pay_url"].rpartition("/")[2], found["token"])

    async def act(self, order: Order, *acts: str) -> None:
        """What a buyer, his bank or the chain does. Raises CorvusError."""
        for act in acts:
            await self.control("act", {"id": order.reference, "act": act})

    async def control(self, what: str, wish: dict[str, Any]) -> Any:
        """One word to the payment services. Raises CorvusError."""
        answer = await self._post("payments", f"/control/{what}", wish, {})
        if answer.status != 200:
            raise CorvusError(f"/control/{what}: {answer.status} {answer.body[:200]!r}")
        return json.loads(answer.body)

    async def again(self, service: str, how: str) -> int:
        """The last message of a payment once more, true or forged; the shop's answer."""
        wish = {"service": service, "again": TOLD[service], "how": how}
        return int((await self.control("hooks", wish))["status"])

    async def pay_for_nothing(self) -> None:
        """A session that the shop has never heard of is paid, and its message comes."""
        form = (
            b"mode=payment&success_url=http://nobody/&line_items[0][price_data][currency]=usd"
            b"&line_items[0][price_data][unit_amount]=500&line_items[0][quantity]=1"
            b"&line_items[0][price_data][product_data][name]=nothing"
        )
        url = f"http://127.0.0.1:{self._stack.ports['payments']}/v1/checkout/sessions"
        key = {"authorization": f"Bearer {PAYMENT_SECRETS['stripe-key']}"}
        session = json.loads((await self._caller.fetch("POST", url, key, content=form)).body)
        await self.act(Order("", session["id"]), "pay")

    async def credited(self, *orders: Order) -> None:
        """Until these orders, or all, are credited in the books. Raises CorvusError."""
        ids = [one.order_id for one in orders]
        which = "order_id = any($1)" if ids else "$1::text[] is not null"

        async def done() -> bool:
            async with self._stack.stores.books.connection() as connection:
                return bool(await connection.fetchval(CREDITED + which, ids))

        await self._scene.until(done, "every paid order is credited", timeout_s=CREDITED_S)

    async def stands(self, order: Order, *, owed: int, frozen: str, balance: int) -> None:
        """Until an order's wallet stands so. Raises CorvusError that says how it stands else."""
        found: tuple[int, str, int] = (0, "", 0)

        async def done() -> bool:
            nonlocal found
            async with self._stack.stores.books.connection() as connection:
                row = await connection.fetchrow(WALLET, order.order_id)
            state = await self._stack.stores.till.wallet(row["wallet"])
            found = (row["receivable_nanos"], row["frozen_by"], state.balance_nanos if state else 0)
            return found == (owed, frozen, balance)

        try:
            await self._scene.until(done, "it stands so", timeout_s=CREDITED_S)
        except CorvusError:
            told = f"owes {found[0]}, is frozen by {found[1] or 'nobody'} and has {found[2]}"
            raise CorvusError(
                f"{order.order_id} {told}; due: {owed}, {frozen}, {balance}"
            ) from None

    async def look(self, order: Order) -> None:
        """The buyer looks at his order's page. Raises CorvusError."""
        url = f"http://127.0.0.1:{self._stack.ports['site']}/v1/orders/{order.token}"
        answer = await self._caller.fetch("GET", url, {})
        if answer.status != 200:
            raise CorvusError(f"an order's page: {answer.status}")

    async def _post(
        self, process: str, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> Fetched:
        url = f"http://127.0.0.1:{self._stack.ports[process]}{path}"
        return await self._caller.fetch("POST", url, headers, content=json.dumps(body).encode())


async def storm(scene: Scene) -> None:
    """31"""
    buyer = await scene.load.new_wallet()
    async with Counter(scene) as counter:
        await counter.pay_for_nothing()
        for number in range(STORMS):
            service = SERVICES[number % 2]
            secret = buyer.secret if number % 3 == 0 else ""
            order = await counter.order(service, f"{scene.chance.randint(1, 9)}", secret=secret)
            trick = scene.chance.choice(("drop", "double", "hold", ""))
            if trick:
                wish = {"service": service, "trick": trick, "times": scene.chance.randint(1, 4)}
                await counter.control("hooks", wish)
            await counter.act(order, *PAID[service])
            copies = [counter.again(service, "copy") for _ in range(COPIES)]
            forged = [counter.again(service, how) for how in FORGED[service]]
            statuses = await asyncio.gather(*copies, *forged)
            if bad := [status for status in statuses[COPIES:] if status != 400]:
                scene.violated(f"a forged message of {service} was answered {bad}")
            if bad := [status for status in statuses[:COPIES] if status != 200]:
                scene.violated(f"a true message of {service} was answered {bad}")
            if scene.chance.random() < 0.5:
                await counter.control("hooks", {"release": True})
        await counter.credited()
        await counter.control("hooks", {"release": True})
    scene.note(f"{STORMS} orders, {STORMS * COPIES} copies")


async def taken_back(scene: Scene) -> None:
    """32"""
    own = await scene.load.new_wallet()
    async with Counter(scene) as counter:
        spent = await counter.order("stripe", "5", secret=own.secret)
        chain = await counter.order("btcpay", "7")
        won = await counter.order("stripe", "9")
        await counter.act(spent, "pay")
        await counter.act(chain, *PAID["btcpay"])
        await counter.act(won, "pay")
        await counter.credited(spent, chain, won)
        # The books have the credit before Redis does, and a debit of what is not there is refused.
        await counter.stands(spent, owed=0, frozen="", balance=RICH_NANOS + 5 * USD)
        # 10 USD are there; 2 are left when the bank takes back 5.
        await scene.load.move("debit", own, RICH_NANOS + 3 * USD)
        await counter.stands(spent, owed=0, frozen="", balance=2 * USD)
        for order in (spent, chain, won):
            await counter.act(order, "reverse")
        await counter.stands(spent, owed=3 * USD, frozen="chargeback", balance=0)
        await counter.stands(chain, owed=0, frozen="chargeback", balance=0)
        await counter.stands(won, owed=0, frozen="chargeback", balance=0)
        await counter.act(won, "dispute_won")
        await counter.stands(won, owed=0, frozen="", balance=9 * USD)


def credited(seen: Seen) -> bool:
    """Redis's word that a credit is done, on its way back."""
    reply = seen.reply
    named = seen.way == DOWN and seen.call is not None and seen.call.name == "credit"
    return named and isinstance(reply, list) and reply[0] == b"OK"


async def kill_applier(scene: Scene) -> None:
    """33"""
    async with Counter(scene) as counter:
        for service in SERVICES:
            await counter.control("hooks", {"service": service, "trick": "drop", "times": 100})
        orders = [await counter.order(service, "4") for service in (*SERVICES, *SERVICES)]
        scene.stack.site.kill()  # the worker alone finds the payments, and brings them
        for at, order in enumerate(orders):
            await counter.act(order, *PAID[SERVICES[at % 2]])
        await scene.kill_when(
            scene.worker, scene.link("worker>redis"), credited, within=len(orders)
        )
        await scene.wait(0.2, 1.0)
        scene.worker.start()
        scene.healed()
        # What the dead one was asking about is not asked again for a while, but by its buyer.
        await counter.open()
        for order in orders:
            await counter.look(order)
        await counter.credited(*orders)
        scene.stack.payments.kill()  # and forgets the tricks


FAULTS = (
    Fault(
        31,
        "webhooks: twice, forged, lost",
        "payment messages ten times over, reordered, an hour old, forged, altered, lost, too early",
        "one credit each; 400 for what is forged, and no effect",
        storm,
        clients=FEW,
    ),
    Fault(
        32,
        "payment reversed",
        "paid and spent, then disputed; confirmed on chain, then spent twice; disputed, and won",
        "what is free is taken back, the rest owed, the wallet frozen; given again when won",
        taken_back,
        clients=FEW,
    ),
    Fault(
        33,
        "applier killed",
        "messages lost; the worker finds the payments and is killed with a credit's answer on its"
        " way",
        "the credit is found done, and every order is applied",
        kill_applier,
        clients=FEW,
    ),
)
