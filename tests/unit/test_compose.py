"""`config/compose.yaml`: every command and option in it is one that there is, and no more is open
than has to be."""

import re
from pathlib import Path

import pytest

from corvus_proxy.ops import doctor
from corvus_proxy.ops.cli import app
from corvus_proxy.settings import PLAIN_SECTIONS, Settings, load, struct_of
from corvus_proxy.till.checks import REQUIRED
from tests import compose

SERVICES = compose.services()
OURS = {name: one for name, one in SERVICES.items() if one.is_ours}
GATEWAYS = [name for name in OURS if name.startswith("gateway-")]
VARIABLES = {"CORVUS_CONFIG", "CORVUS_PRODUCTION"} | {
    f"CORVUS_{section}_{option}".upper()
    for section in PLAIN_SECTIONS
    for option in struct_of(section).__struct_fields__
}


ONCE = ("migrate", "cli")
LEAVE_S = 3
"""What docs/nodes.md asks of roles behind this front."""


def settings_of(name: str) -> Settings:
    """What a service's own variables say, but for passwords."""
    found = OURS[name].environment
    return load(None, {option: text for option, text in found.items() if "FILE" not in option})


@pytest.mark.parametrize("name", OURS)
def test_each_service_is_a_command_with_options_that_there_are(name: str, tmp_path: Path) -> None:
    """The words are the program's, the variables name options, and their values load."""
    service = OURS[name]
    command, bound, unused = app.parse_args(
        service.command, exit_on_error=False, print_error=False
    )[:3]
    assert callable(command)
    assert list(unused) == []
    assert bound.kwargs == ({"production": True} if name == "cli" else {})
    assert set(service.environment) <= VARIABLES
    (tmp_path / "secret").write_text("s" * 40)
    environment = {
        variable: re.sub(r"^/run/secrets/.*", str(tmp_path / "secret"), text)
        for variable, text in service.environment.items()
    }
    settings = load(None, environment)
    assert settings.database.url.startswith(f"postgres://corvus:{'s' * 40}@postgres:5432/")
    for text in service.environment.values():
        if text.startswith("/run/secrets/"):
            assert text.removeprefix("/run/secrets/") in service.tree["secrets"]


def test_everything_that_is_named_is_there() -> None:
    """Networks, volumes, secrets, services that others wait for, files beside it."""
    document = compose.document()
    for service in SERVICES.values():
        assert set(service.tree["networks"]) <= set(document["networks"])
        assert set(service.tree.get("secrets", [])) <= set(document["secrets"])
        for other, why in service.tree.get("depends_on", {}).items():
            checked = "test" in SERVICES[other].tree.get("healthcheck", {}) or other in OURS
            assert checked or why["condition"] == "service_completed_successfully"
        for source, _ in service.mounts:
            if not source.startswith("./"):
                assert source in document["volumes"]
            elif source.startswith(("./corvus", "./secrets/", "./tls")):
                continue  # the operator's own
            else:
                assert (compose.CONFIG / source).exists()


def test_every_gateway_keeps_its_own_journal() -> None:
    """On a volume that no other has, below which the journal is; both answer to one name."""
    assert len(GATEWAYS) >= 2
    for name in GATEWAYS:
        service = OURS[name]
        (kept,) = [source for source, target in service.mounts if target == "/var/lib/corvus"]
        sharing = {one.name for one in SERVICES.values() for pair in one.mounts if pair[0] == kept}
        assert sharing - {"cli"} == {name}  # which looks at it, and keeps no journal
        assert service.environment["CORVUS_LEDGER_JOURNAL_DIR"].startswith("/var/lib/corvus/")
        assert service.tree["networks"]["front"]["aliases"] == ["gateway"]
        gateway = settings_of(name).gateway
        patience_s = int(service.tree["stop_grace_period"].removesuffix("m")) * 60
        assert patience_s >= gateway.leave_s + gateway.drain_s + 10


def test_no_more_is_open_than_has_to_be() -> None:
    """The front alone is public; what is ours has no capability and nothing to write to but its
    volumes; all but commands start again by themselves."""
    for service in SERVICES.values():
        for port in service.tree.get("ports", []):
            assert service.name == "front" or port.startswith("127.0.0.1:"), service.name
        assert service.tree["restart"] == ("no" if service.name in ONCE else "unless-stopped")
        if service.is_ours:
            assert service.tree["read_only"] is True
            assert service.tree["cap_drop"] == ["ALL"]
    for name in ("redis", "postgres"):
        assert SERVICES[name].tree["networks"] == ["stores"]
        assert "ports" not in SERVICES[name].tree
    assert compose.document()["networks"]["stores"] == {"internal": True}
    assert {"console", "front"} & set(OURS["console"].tree["networks"]) == set()


def test_each_role_tells_its_figures_on_the_private_network_alone() -> None:
    """The name that it listens on is its own, there and nowhere else; they are kept in memory."""
    document = compose.document()
    for name in set(OURS) - set(ONCE):
        service = OURS[name]
        chosen = settings_of(name).metrics
        listens = [
            (other, network)
            for other, one in SERVICES.items()
            for network in one.tree["networks"]
            if not isinstance(one.tree["networks"], list)
            and chosen.listen in one.tree["networks"][network].get("aliases", [])
        ]
        assert listens == [(name, "stores")]
        assert document["networks"]["stores"]["internal"]
        assert Path(chosen.dir).parent == Path("/tmp")
        assert "/tmp" in service.tree["tmpfs"]


def test_the_site_believes_the_front_alone() -> None:
    """Its network is what `site.trusted_proxies` names."""
    (network,) = compose.document()["networks"]["front"]["ipam"]["config"]
    assert settings_of("site").site.trusted_proxies == [network["subnet"]]


def test_the_front_reaches_what_it_names() -> None:
    """Each `server` line is a name on its network, at the port that the image opens; both roles
    stay until it has left them."""
    text = (compose.CONFIG / "nginx.conf").read_text()
    servers = re.findall(r"^\s+server (\S+):(\d+) ", text, re.MULTILINE)
    gateway, site = settings_of(GATEWAYS[0]), settings_of("site").site
    assert set(servers) == {
        ("gateway", str(gateway.gateway.port)),
        ("site", str(site.port)),
    }
    assert "front" in OURS["site"].tree["networks"]
    assert {gateway.gateway.leave_s, site.leave_s} == {LEAVE_S}
    front = dict(SERVICES["front"].mounts)
    assert front["./nginx.conf"] == "/etc/nginx/nginx.conf"
    (folder,) = {str(Path(one).parent) for one in re.findall(r"ssl_certificate\S* (\S+);", text)}
    assert front["./tls"] == folder
    # Its root is read-only: what it writes is on the /tmp that it is given.
    written = re.findall(r"(?:_path|pid) (/\S+);", text)
    assert written
    assert all(one.startswith("/tmp/") for one in written)
    assert SERVICES["front"].tree["tmpfs"] == ["/tmp"]


def test_redis_holds_money() -> None:
    """What the gateway insists on, and what the doctor asks for."""
    lines = (compose.CONFIG / "redis.conf").read_text().splitlines()
    options = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert {name: options[name] for name in REQUIRED} == REQUIRED
    for name, (good, _) in doctor.REDIS_ADVICE.items():
        assert good(options[name]), name
