"""The shipped front's numbers beside the settings' defaults that they were chosen for. What the
rules do is seen in tests/flow/test_front.py."""

import re
from pathlib import Path

from corvus_proxy.account.webhooks import BODY_BYTES_MAX
from corvus_proxy.settings.sections import GatewaySettings, RelaySettings, TimeoutSettings

TEXT = Path("config/nginx.conf").read_text()
UNITS = {"s": 1, "k": 1024, "m": 1024 * 1024}
LEAVE_S = 3
"""What docs/nodes.md asks operators of this front to set."""


def told(name: str) -> list[int]:
    """A directive's numbers, in seconds or bytes."""
    found = re.findall(rf"^ +{name} (\d+)([skm]);", TEXT, re.MULTILINE)
    return [int(number) * UNITS[unit] for number, unit in found]


def test_bodies_up_to_the_limit_reach_those_who_refuse_them_in_words() -> None:
    api, site = told("client_max_body_size")
    assert api > GatewaySettings().body_bytes_max
    assert site == BODY_BYTES_MAX


def test_the_front_is_more_patient_than_what_is_behind_it() -> None:
    """So that things end with a sentence of ours."""
    assert told("proxy_read_timeout")[0] > TimeoutSettings().total_s
    assert told("send_timeout")[0] > RelaySettings().client_stall_s
    assert told("proxy_send_timeout")[0] > GatewaySettings().body_timeout_s


def test_kept_connections_are_closed_by_the_front_before_a_server_leaves() -> None:
    kept = re.findall(r"^ {8}keepalive_timeout (\d+)s;", TEXT, re.MULTILINE)
    out = re.findall(r"fail_timeout=(\d+)s", TEXT)
    assert len(kept) == len(out) == 2
    assert max(map(int, (*kept, *out))) < LEAVE_S
    assert f"`{LEAVE_S}`" in Path("docs/nodes.md").read_text()


def test_the_shipped_text_has_the_rules_that_must_not_be_lost() -> None:
    """Streams pass as they come, nothing that was sent is sent again, metrics stay inside."""
    assert "non_idempotent" not in TEXT
    assert "proxy_buffering off;" in TEXT
    assert "proxy_request_buffering off;" in TEXT
    secure = TEXT.split("listen 443")[1:]
    assert len(secure) == 2
    for server in secure:
        assert re.search(r"location = /metrics {\s+return 404;", server)
        assert server.count("proxy_next_upstream off;") == 2
