"""The authorisation matrix: for each route what everybody gets. A route without a row fails the
tests, as does a row without a route."""

import json

from tests.security.people import API

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


def read(table: str) -> dict[str, dict[str, int]]:
    """A table by route and column."""
    head, *rows = (line for line in table.strip().splitlines() if line)
    names = head.split()[1:]
    found = {}
    for row in rows:
        cells = row.split()
        count = len(cells) - len(names)
        values = (int(cell) for cell in cells[count:])
        found[" ".join(cells[:count])] = dict(zip(names, values, strict=True))
    return found


API_TABLE = read(_API)
