"""The authorisation matrix: for each route what everybody gets. A route without a row fails the
tests, as does a row without a route."""

import json

from tests.security.people import API, SITE

STRANGERS = API[:9]
COLUMNS = {"strangers": STRANGERS, **{name: (name,) for name in API[9:]}}
"""Columns of `API_TABLE`, and who of `people.API` stands in each."""

_SAY = "[[simulate: tokens=3 delay_ms=0]]"
_CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": _SAY}]}
_CLAUDE = {**_CHAT, "model": "claude-opus-5-5"}
BODIES = {
    route: json.dumps(body)
    for route, body in {
        "POST /v1/chat/completions": _CHAT,
        "POST /v1/messages": {**_CLAUDE, "max_tokens": 9},
        "POST /v1/responses": {"model": "gpt-5.5", "input": _SAY},
        "POST /v1/embeddings": {"model": "text-embedding-3-small", "input": "x"},
        "POST /v1/messages/count_tokens": _CLAUDE,
        "POST /v1/responses/input_tokens": {"model": "gpt-5.5", "input": "x"},
        "POST /v1/keys": {"label": "made"},
        "PATCH /v1/keys/{key_id}": {"label": "Zebedee-sub"},
        "POST /v1/key/unfreeze": {"recovery_code": "rc-none"},
        "POST /v1/alarms": {"kind": "hour", "threshold": "9.00", "email": True},
        "PUT /v1/alarms": {"alarms": []},
        "PATCH /v1/alarms/{alarm_id}": {"threshold": "0.000000002"},
        "POST /v1/quote": {"dialect": "chat", **_CHAT},
    }.items()
}
SPARE = {
    ("DELETE /v1/keys/{key_id}", "main"),
    ("POST /v1/key/freeze", "other"),
    ("POST /v1/key/freeze", "sub"),
    ("POST /v1/key/freeze", "main"),
    ("PUT /v1/alarms", "main"),
    ("DELETE /v1/alarms/{alarm_id}", "main"),
}
"""Cells that change what the others are about: a wallet of their own is made for them."""

_API = """
route                                strangers replaced revoked expired frozen stopped other sub main
POST /v1/chat/completions                  401      403     403     403    403     403   200 200  200
POST /v1/messages                          401      403     403     403    403     403   200 200  200
POST /v1/responses                         401      403     403     403    403     403   200 200  200
POST /v1/embeddings                        401      403     403     403    403     403   200 200  200
POST /v1/messages/count_tokens             401      403     403     403    403     403   200 200  200
POST /v1/responses/input_tokens            401      403     403     403    403     403   200 200  200
GET /livez                                 200      200     200     200    200     200   200 200  200
GET /readyz                                200      200     200     200    200     200   200 200  200
GET /api/hello                             200      200     200     200    200     200   200 200  200
GET /                                      200      200     200     200    200     200   200 200  200
GET /v1/models                             401      403     403     403    403     403   200 200  200
GET /v1/models/{slug}                      401      403     403     403    403     403   200 200  200
GET /v1/key                                401      403     200     200    200     200   200 200  200
GET /v1/usage                              401      403     200     200    200     200   200 200  200
GET /v1/requests                           401      403     200     200    200     200   200 200  200
GET /v1/requests/{request_id}              401      403     404     404    404     404   404 404  200
GET /v1/ledger                             401      403     200     200    200     200   200 200  200
GET /v1/keys                               401      403     200     200    200     200   200 200  200
POST /v1/keys                              401      403     403     403    403     403   201 403  201
GET /v1/keys/{key_id}                      401      403     404     404    404     404   404 200  200
PATCH /v1/keys/{key_id}                    401      403     404     404    404     404   404 403  200
DELETE /v1/keys/{key_id}                   401      403     404     404    404     404   404 403  200
POST /v1/key/rotate                        401      403     403     403    403     403   200 200  200
POST /v1/key/freeze                        401      403     403     200    403     200   200 200  200
POST /v1/key/unfreeze                      401      403     403     403    403     403   403 403  403
GET /v1/alarms                             401      403     403     403    403     200   200 403  200
POST /v1/alarms                            401      403     403     403    403     403   400 403  201
PUT /v1/alarms                             401      403     403     403    403     403   200 403  200
GET /v1/alarms/{alarm_id}                  401      403     403     403    403     404   404 403  200
PATCH /v1/alarms/{alarm_id}                401      403     403     403    403     403   404 403  200
DELETE /v1/alarms/{alarm_id}               401      403     403     403    403     403   404 403  200
POST /v1/alarms/{alarm_id}/test            401      403     403     403    403     403   404 403  400
POST /v1/quote                             401      403     200     200    200     200   200 200  200
GET /v1/credits                            401      403     200     200    200     200   200 200  200
GET /api/v1/credits                        401      403     200     200    200     200   200 200  200
GET /api/v1/key                            401      403     200     200    200     200   200 200  200
GET /v1/generation                         401      403     404     404    404     404   404 404  200
GET /api/v1/generation                     401      403     404     404    404     404   404 404  200
GET /v1/dashboard/billing/credit_grants    401      403     200     200    200     200   200 200  200
GET /v1/dashboard/billing/subscription     401      403     200     200    200     200   200 200  200
GET /v1/dashboard/billing/usage            401      403     200     200    200     200   200 200  200
"""  # noqa: E501
"""`replaced`, `revoked`, `expired`, `frozen` and `sub` are keys of the owner's wallet, `stopped`
and `other` of two other wallets. What is asked for by its id is the owner's: that of `sub`, where
it is a key. A key that has ended may look at what it spent. 400: the wallet has no mailbox, or the
alarm has no webhook."""


STRANGE_BROWSERS = SITE[:7]
SITE_COLUMNS = {"strangers": STRANGE_BROWSERS, **{name: (name,) for name in SITE[7:]}}
"""Columns of `SITE_TABLE`, and who of `people.SITE` stands in each."""
SITE_SPARE = ("POST /logout", "POST /dashboard/security/sessions")
"""Routes that end log-ins: asked with one of its own. What ends the token stands behind the rows
of all that a token opens."""
SITE_BODIES = {"POST /checkout": b"amount=none"}

_SITE = """
route                                      strangers revoked expired frozen stopped other sub token elsewhere main
GET /login                                 200 303 303 303 303 303 303 303 303 303
POST /login                                401 401 401 401 401 401 401 401 403 401
POST /logout                               login login login login login login login login login login
GET /login/mail                            200 200 200 200 200 200 200 200 200 200
POST /login/mail                           400 400 400 400 400 400 400 400 403 400
GET /login/{token}                         410 410 410 410 410 410 410 410 410 410
POST /login/{token}                        410 410 410 410 410 410 410 410 403 410
GET /dashboard                             login ledger 200 200 200 200 200 200 200 200
GET /dashboard.json                        401 ledger 200 200 200 200 200 200 200 200
POST /dashboard/orders                     login ledger 403 403 303 303 403 403 403 303
GET /dashboard/events                      401 ledger 200 200 200 200 200 200 200 200
GET /dashboard/requests                    login ledger 200 200 200 200 200 200 200 200
GET /dashboard/requests.json               401 ledger 200 200 200 200 200 200 200 200
GET /dashboard/requests/{request_id}       login ledger 404 404 404 404 404 200 200 200
GET /dashboard/ledger                      login 200 200 200 200 200 200 200 200 200
GET /dashboard/ledger.{form}               login 200 200 200 200 200 200 200 200 200
GET /dashboard/keys                        login ledger 200 200 200 200 200 200 200 200
POST /dashboard/keys                       login ledger 403 403 400 200 403 403 403 200
POST /dashboard/keys/{key_id}              login ledger 404 404 404 404 400 403 403 400
GET /dashboard/alarms                      login ledger 403 403 200 200 403 200 200 200
POST /dashboard/alarms                     login ledger 403 403 400 400 403 403 403 400
POST /dashboard/alarms/{alarm_id}          login ledger 403 403 303 303 403 403 403 303
GET /dashboard/security                    login ledger 403 403 200 200 403 200 200 200
POST /dashboard/security/sessions          login ledger 403 403 303 303 403 403 403 303
POST /dashboard/security/tokens            login ledger 403 403 200 200 403 403 403 200
POST /dashboard/security/code              login ledger 403 403 400 400 403 403 403 400
POST /dashboard/security/mail              login ledger 403 403 400 400 403 403 403 400
POST /dashboard/recovery/stop              login ledger 403 403 303 303 403 403 403 303
POST /dashboard/security/tokens/{token_id} login ledger 403 403 303 303 403 403 403 303
GET /checkout                              200 200 200 200 200 200 200 200 200 200
POST /checkout                             422 422 422 422 422 422 422 422 403 422
GET /checkout/price.json                   200 200 200 200 200 200 200 200 200 200
GET /orders/{token}.json                   200 200 200 200 200 200 200 200 200 200
GET /orders/{token}                        200 200 200 200 200 200 200 200 200 200
POST /orders/{token}/check                 303 303 303 303 303 303 303 303 403 303
POST /orders/{token}/address               422 422 422 422 422 422 422 422 403 422
POST /orders/{token}/resend                429 429 429 429 429 429 429 429 403 429
POST /orders/{token}/test                  303 303 303 303 303 303 303 303 403 303
POST /orders/{token}/dashboard             login login login login login login login login 403 login
GET /orders/{token}/code                   404 404 404 404 404 404 404 404 404 404
GET /claim/{token}                         404 404 404 404 404 404 404 404 404 404
POST /claim/{token}                        410 410 410 410 410 410 410 410 403 410
GET /recover                               200 200 200 200 200 200 200 200 200 200
POST /recover                              401 401 401 401 401 401 401 401 403 401
GET /recover/stop/{token}                  404 404 404 404 404 404 404 404 404 404
POST /recover/stop/{token}                 404 404 404 404 404 404 404 404 403 404
GET /recover/{token}                       404 404 404 404 404 404 404 404 404 404
POST /recover/{token}                      404 404 404 404 404 404 404 404 403 404
POST /webhooks/{provider}                  400 400 400 400 400 400 400 400 400 400
POST /v1/orders                            400 400 400 400 400 400 400 400 400 400
GET /v1/orders/{token}                     200 200 200 200 200 200 200 200 200 200
GET /demo/pay/{name}                       404 404 404 404 404 404 404 404 404 404
POST /demo/pay/{name}/{act}                404 404 404 404 404 404 404 404 404 404
GET /demo/pull-payments/{name}             404 404 404 404 404 404 404 404 404 404
POST /demo/pull-payments/{name}/{act}      404 404 404 404 404 404 404 404 404 404
GET /livez                                 200 200 200 200 200 200 200 200 200 200
GET /readyz                                200 200 200 200 200 200 200 200 200 200
GET /static/{name}                         200 200 200 200 200 200 200 200 200 200
"""  # noqa: E501
"""`login`, `ledger`: sent there. All that `/orders/{token}` shows, whoever has the address sees: it
is the secret of an order that is not paid; its forms do nothing for another browser than the one
that ordered. Of a public page see `test_public_pages_are_the_same_for_everybody`."""


def read(table: str) -> dict[str, dict[str, str]]:
    """A table by route and column."""
    head, *rows = (line for line in table.strip().splitlines() if line)
    names = head.split()[1:]
    found = {}
    for row in rows:
        cells = row.split()
        count = len(cells) - len(names)
        found[" ".join(cells[:count])] = dict(zip(names, cells[count:], strict=True))
    return found


API_TABLE = read(_API)
SITE_TABLE = read(_SITE)

STATUS = {
    "GET /": 307,
    "GET /livez": 200,
    "GET /readyz": 200,
    "GET /status": 200,
    "GET /status.md": 200,
    "GET /status.json": 200,
    "GET /data/status.json": 200,
    "GET /static/{name}": 200,
    "GET /{path:path}": 307,
}
"""The worker's port, which knows no customer: what everybody gets."""
STATUS_ASKED_BY = ("none", "main", "token", "bearer")

CONSOLE_COLUMNS = {
    "strangers": ("none", "main", "token", "bearer", "forged", "stale"),
    "revoked": ("revoked",),
    "elsewhere": ("elsewhere",),
    "operator": ("operator",),
}
"""Columns of `CONSOLE_TABLE`. Customers are strangers there, whatever they have; `revoked`: a
log-in whose token was revoked; `elsewhere`: an operator's browser, sent by a page of another
site."""
_CONSOLE = """
route                           strangers revoked elsewhere operator
GET /login                      200       200     200       200
POST /login                     403       403     403       403
POST /logout                    login     login   403       login
GET /                           login     login   200       200
GET /orders                     login     login   200       200
GET /orders/{order_id}          login     login   404       404
POST /orders/{order_id}/doctor  login     login   403       404
GET /keys                       login     login   200       200
GET /keys/{key_id}              login     login   200       200
GET /pools                      login     login   200       200
POST /pools/test                login     login   403       200
GET /refunds                    login     login   200       200
GET /audit                      login     login   200       200
POST /deeds/{name}              login     login   403       404
GET /static/console.css         200       200     200       200
GET /metrics                    200       200     200       200
GET /livez                      200       200     200       200
GET /readyz                     200       200     200       200
"""
CONSOLE_TABLE = read(_CONSOLE)
