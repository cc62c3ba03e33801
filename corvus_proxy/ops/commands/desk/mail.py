"""`corvus mail …`: what is to be sent, and whether it can be."""

from cyclopts import App

from corvus_proxy.ops.commands.common import (
    Common,
    Deed,
    Reason,
    actor,
    document_of,
    on_stores,
    say,
    settings_of,
    table,
    would,
)

app = App(name="mail", help="Mails that wait, failed or went.")


@app.command
def outbox(*, status: str = "", limit: int = 50, common: Common | None = None) -> None:
    """The newest mails that have not arrived, without what they say.

    Parameters
    ----------
    status
        Only those that are queued, deferred, bounced, accepted or off.
    limit
        How many at most.
    """
    from corvus_proxy.service.operating import mail as service

    common = common or Common()
    rows = on_stores(common, lambda stores: service.outbox(stores, state=status, limit=limit))
    text = table(
        ("mail", "kind", "order", "to", "state", "tries", "problem"),
        [
            (row.mail_id, row.kind, row.order_id or "-", row.address, row.state, row.attempts,
             row.problem)
            for row in rows
        ],
        empty="nothing waits and nothing has failed",
    )  # fmt: skip
    say(common, {"mails": [document_of(row) for row in rows]}, text)


@app.command(name="test")
def attempt(address: str, *, common: Common | None = None) -> None:
    """Sends one mail to an address now, by the configured server.

    Parameters
    ----------
    address
        Who receives it.
    """
    from corvus_proxy.service.operating import mail as service

    common = common or Common()
    settings = settings_of(common)
    problem = on_stores(common, lambda stores: service.attempt(stores, settings, address))
    text = problem or f"{settings.mail.host}:{settings.mail.port} has taken it"
    say(common, {"ok": not problem, "problem": problem}, text)
    if problem:
        raise SystemExit(1)


@app.command
def retry(mail_id: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Lets a mail that waits go at once.

    Parameters
    ----------
    mail_id
        A mail, as `corvus mail outbox` tells it.
    """
    from corvus_proxy.service.operating import mail as service

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, f"send {mail_id} at once", mail_id=mail_id)
        return
    problem = on_stores(
        deed, lambda stores: service.retry(stores, mail_id, reason=reason, actor=actor())
    )
    if problem is not None:
        raise SystemExit(f"corvus: {problem.sentence}")
    say(deed, {"mail_id": mail_id, "state": "queued"}, f"{mail_id}  goes within a second")
