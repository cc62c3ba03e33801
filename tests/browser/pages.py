"""Every page of the site in every state that it shows: one row each.

A new page, or a new state of one, is a row here: its name, the route that it stands for, how a
person gets there. The tests take it from there.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from corvus_proxy.catalogue import book
from corvus_proxy.service import proof
from corvus_proxy.service.orders import Placed
from corvus_proxy.settings import Settings
from corvus_proxy.site import public
from tests.browser.people import People
from tests.browser.watch import Visit

Arrive = Callable[[Visit, People], Awaitable[None]]
MAILED = "buyer@demo.example"


class Row(NamedTuple):
    """One state of one page."""

    name: str
    route: str
    arrive: Arrive
    status: int = 200
    """Of its answer."""
    posted: bool = False
    """It answers a form: it has no address at which it can be opened again."""
    rare: bool = False
    """Looked at with `--all` alone: made of the same parts as others."""


def opened(path: str) -> Arrive:
    """By its address."""

    async def arrive(visit: Visit, people: People) -> None:
        await visit.goto(path)

    return arrive


async def with_days(visit: Visit, people: People) -> None:
    """There is a day, and it is counted: the worker does that now and then, also meanwhile."""
    await people.key("regular")
    await proof.count_days(people.stores)
    await visit.goto("/trust/proof")


def logged_in(name: str, path: str = "/dashboard") -> Arrive:
    """By the log-in of one of `people`, then by its address."""

    async def arrive(visit: Visit, people: People) -> None:
        if name in people.cookies:
            await visit.take(people.cookies[name])
            await visit.goto(path)
            return
        await visit.log_in((await people.key(name)).secret)
        people.cookies[name] = await visit.cookies()
        if path != "/dashboard":
            await visit.goto(path)

    return arrive


def filled(path: str, label: str, text: str, button: str, *, name: str = "") -> Arrive:
    """By a form with one field filled in; of one of `people` where there is a name."""

    async def arrive(visit: Visit, people: People) -> None:
        await (logged_in(name, path) if name else opened(path))(visit, people)
        await visit.unfold()
        await visit.page.get_by_label(label, exact=True).first.fill(text)
        await visit.press(button)

    return arrive


def ordered(
    provider: str,
    *acts: str,
    until: str = "",
    email: str = "",
    own: bool = True,
    rest: str = "",
    key: str = "",
) -> Arrive:
    """By the address of an order to whose payment this has happened; `own`: in the browser that
    ordered; `key`: a top-up of this one of `people`."""

    async def arrive(visit: Visit, people: People) -> None:
        target = (await people.key(key)).key_id if key else ""
        placed = await people.order(provider, *acts, until=until, email=email, key=target)
        await _open(visit, placed, own, rest)

    return arrive


async def _open(visit: Visit, placed: Placed, own: bool = True, rest: str = "") -> None:
    if own:
        await visit.own(placed.browser)
    await visit.goto(f"/orders/{placed.token}{rest}")


async def refunded(visit: Visit, people: People) -> None:
    """Half of a paid order has gone back."""
    placed = await people.order("stripe", "pay")
    await people.view(placed)
    await people.refund(placed.order_id)
    await _open(visit, placed)


async def waiting_refund(visit: Visit, people: People) -> None:
    """Half of an order that was paid on chain waits for its payer's address."""
    placed = await people.order("btcpay", "pay", "confirm", until="paid_confirmed")
    await people.refund(placed.order_id)
    await _open(visit, placed)


async def claiming(visit: Visit, people: People) -> None:
    """At the simulated payment service, where that is named."""
    placed = await people.order("btcpay", "pay", "confirm", until="paid_confirmed")
    await people.refund(placed.order_id)
    await visit.goto((await people.view(placed)).refunds[0].claim_url)


def paying(provider: str) -> Arrive:
    """At the simulated payment service."""

    async def arrive(visit: Visit, people: People) -> None:
        await visit.goto((await people.order(provider)).pay_url)

    return arrive


async def claimable(visit: Visit, people: People) -> None:
    """By the link of a delivery mail."""
    address = people.address()
    await people.order("stripe", "pay", email=address)
    await visit.goto((await people.mailed(address, r"http\S+/claim/\w+"))[0])


async def claimed(visit: Visit, people: People) -> None:
    """By its button."""
    await claimable(visit, people)
    await visit.press("Show my key")


async def claimed_before(visit: Visit, people: People) -> None:
    """By a link that has been used."""
    await claimed(visit, people)
    await visit.goto(visit.page.url)


async def recovered(visit: Visit, people: People) -> None:
    """By a recovery code."""
    view = await people.view(await people.order("stripe", "pay"))
    await filled("/recover", "Recovery code", view.recovery, "Get a new secret")(visit, people)


async def recovery_waits(visit: Visit, people: People) -> None:
    """By the proof of a payment."""
    await _prove(visit, people, people.address())


async def _prove(visit: Visit, people: People, address: str) -> None:
    view = await people.view(await people.order("stripe", "pay", email=address))
    await visit.goto("/recover")
    await visit.page.get_by_label("Order number").fill(view.order_id)
    await visit.page.get_by_label("Payment reference").fill(view.payments[0].reference)
    await visit.press("Begin to wait")


async def recovery_can_be_stopped(visit: Visit, people: People) -> None:
    """By the mail to the owner."""
    address = people.address()
    await _prove(visit, people, address)
    await visit.goto((await people.mailed(address, r"http\S+/recover/stop/\w+"))[0])


async def login_link(visit: Visit, people: People) -> None:
    """By the link of a log-in mail."""
    address = people.address()
    await people.order("stripe", "pay", email=address)
    await filled("/login/mail", "Mail address", address, "Send the link")(visit, people)
    await visit.goto((await people.mailed(address, r"http\S+/login/\w+"))[0])


async def one_request(visit: Visit, people: People) -> None:
    """From the list."""
    await logged_in("regular", "/dashboard/requests")(visit, people)
    async with visit.page.expect_navigation():
        await visit.page.locator("table.requests a").first.click()
    await visit.settle()


PUBLIC = public.pages(book.load(Settings().pricing).models)
"""One template makes them all."""
LOOKED_AT = {page.source if not page.listed else page.id: page for page in reversed(PUBLIC)}
"""Of many alike, which no list has, the first."""
IN_GATE = ("home", "docs-home", "docs-getting-started-before-you-buy", "status")
"""Those that are looked at each time."""
NOTHING = "Nobody-Has-This-Model"
ROWS = (
    Row("nowhere", "", opened("/nowhere"), 404),
    *(
        Row(page.id, page.path, with_days if page.id == "trust-proof" else opened(page.path),
            rare=page.id not in IN_GATE)
        for page in LOOKED_AT.values()
    ),
    Row("model-unknown", "/models/{slug}", opened("/models/claude-sonet-4-6"), 404),
    Row("models-none", "/models", opened("/models?q=gpt5.5"), rare=True),
    Row("tracker-openai", "/pricing/tracker", opened("/pricing/tracker?family=openai"), rare=True),
    Row("calculator-pasted", "/pricing/calculator", opened(
        '/pricing/calculator?model=gpt-5.5&model=glm-5.3&usage={"prompt_tokens":5000,'
        '"completion_tokens":300,"prompt_tokens_details":{"cached_tokens":4096}}'), rare=True),
    Row("calculator-mistaken", "/pricing/calculator", opened(
        "/pricing/calculator?input=many&output=9&mode=flex&model=claude-haiku-4-5"), rare=True),
    Row("calculator-own", "/pricing/calculator",
        logged_in("regular", "/pricing/calculator?mine=on"), rare=True),
    # The counter.
    Row("checkout", "/checkout", opened("/checkout")),
    Row("checkout-top-up", "/checkout", opened("/checkout?key=key_000000000000"), rare=True),
    Row("checkout-mistaken", "/checkout", filled(
        "/checkout", "Or another amount, in US dollars", "12,x", "Continue to payment"), 422, True),
    Row("pay-by-card", "/demo/pay/{name}", paying("stripe")),
    Row("pay-by-coin", "/demo/pay/{name}", paying("btcpay"), rare=True),
    Row("order-card-awaited", "/orders/{token}", ordered("stripe"), rare=True),
    Row("order-coin-awaited", "/orders/{token}", ordered("btcpay", email=MAILED)),
    Row("order-coin-seen", "/orders/{token}", ordered("btcpay", "pay")),
    Row("order-coin-under", "/orders/{token}", ordered("btcpay", "under")),
    Row("order-coin-over", "/orders/{token}", ordered("btcpay", "over", "confirm"), rare=True),
    Row("order-coin-late", "/orders/{token}", ordered("btcpay", "late", "confirm"), rare=True),
    Row("order-coin-reversed", "/orders/{token}", ordered("btcpay", "pay", "reverse"), rare=True),
    Row("order-expired", "/orders/{token}", ordered("btcpay", "expire")),
    Row("order-paid", "/orders/{token}", ordered("stripe", "pay", email=MAILED)),
    Row("order-paid-elsewhere", "/orders/{token}", ordered("stripe", "pay", own=False), rare=True),
    Row("order-topped-up", "/orders/{token}", ordered("stripe", "pay", key="newcomer"), rare=True),
    Row("order-disputed", "/orders/{token}",
        ordered("stripe", "pay", "reverse", until="invalid"), rare=True),
    Row("order-refund-waits", "/orders/{token}", waiting_refund),
    Row("claim-refund", "/demo/pull-payments/{name}", claiming),
    Row("order-refunded", "/orders/{token}", refunded),
    Row("order-code", "/orders/{token}/code", ordered("stripe", "pay", rest="/code")),
    Row("claim", "/claim/{token}", claimable),
    Row("claim-done", "/claim/{token}", claimed, posted=True),
    Row("claim-used", "/claim/{token}", claimed_before, 410, rare=True),
    Row("recover", "/recover", opened("/recover")),
    Row("recover-mistaken", "/recover", filled(
        "/recover", "Recovery code", "rc-nonsense", "Get a new secret"), 401, True, rare=True),
    Row("recover-done", "/recover", recovered, posted=True),
    Row("recover-waits", "/recover/{token}", recovery_waits),
    Row("recover-stop", "/recover/stop/{token}", recovery_can_be_stopped),
    # Log-in.
    Row("login", "/login", opened("/login")),
    Row("login-mistaken", "/login", filled(
        "/login", "Key or read-only token", "sk-ant-another", "Open dashboard"), 401, True),
    Row("login-mail", "/login/mail", opened("/login/mail")),
    Row("login-mail-sent", "/login/mail", filled(
        "/login/mail", "Mail address", "nobody@demo.example", "Send the link"),
        posted=True, rare=True),
    Row("login-link", "/login/{token}", login_link),
    # The account.
    Row("dashboard-newcomer", "/dashboard", logged_in("newcomer")),
    Row("dashboard-regular", "/dashboard", logged_in("regular")),
    Row("dashboard-poor", "/dashboard", logged_in("poor")),
    Row("dashboard-grace", "/dashboard", logged_in("rotating")),
    Row("dashboard-frozen", "/dashboard", logged_in("frozen"), rare=True),
    Row("dashboard-colleague", "/dashboard", logged_in("colleague"), rare=True),
    Row("dashboard-accountant", "/dashboard", logged_in("accountant"), rare=True),
    Row("requests", "/dashboard/requests", logged_in("regular", "/dashboard/requests")),
    Row("requests-none", "/dashboard/requests",
        logged_in("newcomer", "/dashboard/requests"), rare=True),
    Row("requests-no-match", "/dashboard/requests",
        logged_in("regular", f"/dashboard/requests?model={NOTHING}"), rare=True),
    Row("request", "/dashboard/requests/{request_id}", one_request),
    Row("request-unknown", "/dashboard/requests/{request_id}",
        logged_in("regular", "/dashboard/requests/req_0"), 404, rare=True),
    Row("ledger", "/dashboard/ledger", logged_in("regular", "/dashboard/ledger")),
    Row("keys", "/dashboard/keys", logged_in("owner", "/dashboard/keys")),
    Row("keys-mistaken", "/dashboard/keys", filled(
        "/dashboard/keys", "Cap in USD (empty: none)", "x", "Make the sub-key", name="newcomer"),
        400, True, rare=True),
    Row("keys-secret", "/dashboard/keys", filled(
        "/dashboard/keys", "Name", "A program", "Make the sub-key", name="newcomer"), posted=True),
    Row("keys-colleague", "/dashboard/keys", logged_in("colleague", "/dashboard/keys"), rare=True),
    Row("alarms", "/dashboard/alarms", logged_in("owner", "/dashboard/alarms")),
    Row("security", "/dashboard/security", logged_in("owner", "/dashboard/security")),
    Row("security-accountant", "/dashboard/security",
        logged_in("accountant", "/dashboard/security"), rare=True),
)  # fmt: skip
