"""What a configuration lacks before customers may come: one row a gap, each with its way out.

Rule 1: a row looks at the settings alone; what has to be asked or measured stands in the modules
        beside this one.
Rule 2: asked for with `--production` or where `production` is set: a trial has most of these gaps.
"""

import ipaddress
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from corvus_proxy.catalogue.margin import addresses, is_loopback
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.doctor.finding import Finding
from corvus_proxy.settings import Settings

ERROR, WARNING = "error", "warning"


class Gap(NamedTuple):
    """One row."""

    option: str
    """Whose value is at fault."""
    level: str
    wrong: Callable[[Settings], str]
    """What is wrong with it; empty where nothing is. Raises ConfigurationError."""
    do: str
    """The way out."""


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address written out; None for a name."""
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def is_near(host: str) -> bool:
    """Whether an address is of this machine or of a private network. A name is not known to be."""
    found = _address(host)
    return found is not None and found.is_private and not found.is_unspecified


def _public_url(url: str) -> str:
    if not url.startswith("https://"):
        return f"is {url}: keys and log-ins would travel unencrypted"
    return f"is {url}, which only this machine reaches" if is_loopback(url) else ""


def _unset(*options: str) -> Callable[[Settings], str]:
    """Whether none of some options is set."""

    def wrong(settings: Settings) -> str:
        for option in options:
            section, _, name = option.partition(".")
            if getattr(getattr(settings, section), name):
                return ""
        return "is not set"

    return wrong


def _console(settings: Settings) -> str:
    host = settings.console.host
    return "" if is_near(host) else f"is {host}: metrics and the console would be public"


def _console_beyond(settings: Settings) -> str:
    found = _address(settings.console.host)
    far = found is not None and found.is_private and not (found.is_loopback or found.is_unspecified)
    return f"is {settings.console.host}: your whole network reaches the console" if far else ""


def _listens(section: str) -> Callable[[Settings], str]:
    def wrong(settings: Settings) -> str:
        host = getattr(settings, section).host
        return "" if is_near(host) else f"is {host}, and this port speaks no TLS"

    return wrong


def _proxies(settings: Settings) -> str:
    behind = settings.brand.site_url.startswith("https://")
    if not behind or settings.site.trusted_proxies:
        return ""
    return "is empty: every visitor has your TLS front's address, and shares one limit of log-ins"


def _payments(settings: Settings) -> str:
    if settings.btcpay.url or settings.stripe.secret_key():
        return ""
    return "is not set, and btcpay.url neither: nobody can pay"


def _stripe_test(settings: Settings) -> str:
    return "is a test key: its payments are no money" if settings.stripe.test_mode() else ""


def _stripe_hook(settings: Settings) -> str:
    lacks = settings.stripe.secret_key() and not settings.stripe.webhook_secrets()
    return "is not set: payments are found by asking alone, late" if lacks else ""


def _stripe_place(settings: Settings) -> str:
    place = settings.stripe.api_base
    wrong = bool(settings.stripe.secret_key()) and not place.startswith("https://")
    return f"is {place}: the secret key would travel unencrypted" if wrong else ""


def _btcpay_place(settings: Settings) -> str:
    place = settings.btcpay.url
    wrong = bool(place) and not place.startswith("https://") and not is_near(_host(place))
    return f"is {place}: its API key would travel unencrypted" if wrong else ""


def _btcpay(name: str, why: str) -> Callable[[Settings], str]:
    def wrong(settings: Settings) -> str:
        found = getattr(settings.btcpay, name)
        return "" if not settings.btcpay.url or (found() if callable(found) else found) else why

    return wrong


def _mail_sender(settings: Settings) -> str:
    lacks = settings.mail.host and "@" not in settings.mail.sender
    return f"is {settings.mail.sender!r}, no address" if lacks else ""


def _mail_security(settings: Settings) -> str:
    mail = settings.mail
    if mail.security != "none" or not mail.host or is_near(mail.host):
        return ""
    return f"is none, and {mail.host} is another machine: claim links would travel unencrypted"


def _mail_password(settings: Settings) -> str:
    lacks = settings.mail.user and not settings.mail.password()
    return f"is not set, and mail.user is {settings.mail.user}" if lacks else ""


def _legal(name: str) -> Callable[[Settings], str]:
    return lambda settings: "" if settings.legal.text(name) else "is not set"


def _upstreams(settings: Settings) -> str:
    found = [url for one in settings.upstream for url in addresses(one) if is_loopback(url)]
    return f"{found[0]} is on this machine: a simulated provider answers there" if found else ""


def _upstream_plain(settings: Settings) -> str:
    found = [
        url
        for one in settings.upstream
        for url in addresses(one)
        if not url.startswith("https://") and not is_near(_host(url))
    ]
    return f"{found[0]}: your provider's key would travel unencrypted" if found else ""


def _redis_open(settings: Settings) -> str:
    url = settings.redis.url
    if url.startswith("unix:") or is_loopback(url) or urlsplit(url).password:
        return ""
    return "names no password, and Redis is another machine: who reaches it makes balances"


_FACTS = "pages are closed without it; state it"
GAPS: tuple[Gap, ...] = (
    Gap("production", ERROR, lambda s: "" if s.production else "is off",
        "set it: gateways then refuse a journal that dies with the machine"),
    Gap("demo.enabled", ERROR, lambda s: "is on" if s.demo.enabled else "",
        "run without it, on stores that hold no simulated money"),
    Gap("brand.site_url", ERROR, lambda s: _public_url(s.brand.site_url),
        "put a TLS front before the site and name its address"),
    Gap("brand.api_url", ERROR, lambda s: _public_url(s.brand.api_url),
        "put a TLS front before the gateways and name its address, without /v1"),
    Gap("brand.support", ERROR, _unset("brand.support"), _FACTS),
    Gap("brand.independence", ERROR, _unset("brand.independence"), _FACTS),
    Gap("brand.refunds", ERROR, _unset("brand.refunds"), _FACTS),
    Gap("brand.name", WARNING, lambda s: f"is still {s.brand.name}" if s.brand.name == "Corvus"
        else "", "name your service, so that it is not taken for another"),
    Gap("trust.entity", ERROR, _unset("trust.entity"), "say whom customers buy from"),
    Gap("trust.address", ERROR, _unset("trust.address"), "say where that is"),
    Gap("trust.contact", ERROR, _unset("trust.contact"), "say where it is reached in writing"),
    Gap("trust.privacy_contact", ERROR, _unset("trust.privacy_contact"),
        "say who answers questions on personal data"),
    Gap("legal.terms", ERROR, _legal("terms"), "give your terms of service, or legal.terms_file"),
    Gap("legal.privacy", ERROR, _legal("privacy"), "give your privacy text, or legal.privacy_file"),
    Gap("console.host", ERROR, _console, "listen on 127.0.0.1 or a private address"),
    Gap("console.host", WARNING, _console_beyond, "let a firewall keep others away"),
    Gap("gateway.host", WARNING, _listens("gateway"),
        "let only your TLS front reach it, or listen on 127.0.0.1"),
    Gap("site.host", WARNING, _listens("site"),
        "let only your TLS front reach it, or listen on 127.0.0.1"),
    Gap("site.trusted_proxies", WARNING, _proxies, "name the front's address"),
    Gap("stripe.secret_key_file", ERROR, _payments,
        "give a payment service's key; docs/going-live.md says how"),
    Gap("stripe.secret_key", ERROR, _stripe_test, "give the live key"),
    Gap("stripe.webhook_secret_file", ERROR, _stripe_hook,
        "make a webhook at Stripe and give its signing secret"),
    Gap("stripe.api_base", ERROR, _stripe_place, "leave it out"),
    Gap("btcpay.url", ERROR, _btcpay_place, "use https"),
    Gap("btcpay.store_id", ERROR, _btcpay("store_id", "is not set"), "name the store"),
    Gap("btcpay.api_key_file", ERROR, _btcpay("api_key", "is not set"),
        "make a key that may create and read invoices"),
    Gap("btcpay.webhook_secret_file", ERROR,
        _btcpay("webhook_secrets", "is not set: payments are found by asking alone, late"),
        "make a webhook in the store and give its secret"),
    Gap("mail.host", ERROR, _unset("mail.host"),
        "name your SMTP server: without one no key can be sent or recovered by mail"),
    Gap("mail.sender", ERROR, _mail_sender, "name the address that mail comes from"),
    Gap("mail.security", ERROR, _mail_security, "use starttls or tls"),
    Gap("mail.password_file", ERROR, _mail_password, "give the password"),
    Gap("upstream", ERROR, _upstreams, "name the provider's own address"),
    Gap("upstream.base_url", ERROR, _upstream_plain, "use https"),
    Gap("pricing.sell_below_cost", WARNING,
        lambda s: "is on" if s.pricing.sell_below_cost else "",
        "turn it off: each such request costs more than it brings"),
    Gap("redis.url", ERROR, _redis_open, "set requirepass or an ACL there, and name it in the URL"),
    Gap("worker.private_webhooks", ERROR,
        lambda s: "is on" if s.worker.private_webhooks else "",
        "turn it off: customers' alarms would reach your network"),
    Gap("ledger.archive_dir", WARNING, _unset("ledger.archive_dir"),
        "name a folder on another disk: a database that is restored is brought forward from it"),
    Gap("metrics.dir", WARNING, _unset("metrics.dir"),
        "name a folder: without it the console has no figures to alarm by"),
)  # fmt: skip
"""Every gap that settings alone tell, in the order in which an operator closes them."""


def findings(settings: Settings) -> list[Finding]:
    """The gaps of these settings."""
    found = []
    for gap in GAPS:
        try:
            wrong = gap.wrong(settings)
        except ConfigurationError as error:  # a secret that is named and not there
            found.append(Finding(_section(gap.option), ERROR, str(error)))
            continue
        if wrong:
            text = f"{gap.option}: {wrong}; {gap.do}"
            found.append(Finding(_section(gap.option), gap.level, text))
    return found


def _section(option: str) -> str:
    return option.partition(".")[0]
