"""What the operator switches off: a credential that takes nothing, and one that only drains."""

from pathlib import Path

import pytest

from corvus_proxy.errors import UpstreamOverloaded
from corvus_proxy.settings import Credential, Upstream
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.pool_members import Sought
from corvus_proxy.upstream.transport import HttptoolsTransport, Transport
from corvus_proxy.wire.dialect import Dialect

TRANSPORTS: dict[str, Transport] = {"httptools": HttptoolsTransport()}
NOBODY: frozenset[str] = frozenset()


def pool(tmp_path: Path, *names: str, draining: str = "") -> Pool:
    (tmp_path / "s").write_text("k")
    rows = [
        Credential(name, secret_file=str(tmp_path / "s"), draining=name == draining)
        for name in names
    ]
    upstream = Upstream("anthropic", "https://api.anthropic.com", credential=rows)
    return Pool([upstream], TRANSPORTS)


def named(pool: Pool, session: str) -> str:
    found = pool.choose("anthropic", Dialect.MESSAGES, Sought(session.encode()))
    return found.credential.name


def states(pool: Pool) -> dict[str, str]:
    return {name: state.value for _, name, state in pool.states()}


def test_a_disabled_credential_takes_nothing_and_comes_back(tmp_path: Path) -> None:
    """Its sessions move at once; another family's of that name stays."""
    found = pool(tmp_path, "a", "b")
    homes = {f"s{number}": named(found, f"s{number}") for number in range(20)}
    assert set(homes.values()) == {"a", "b"}
    found.obey(disabled=frozenset({"anthropic/a", "openai/b"}), draining=NOBODY)
    assert states(found) == {"a": "disabled", "b": "healthy"}
    assert {named(found, session) for session in homes} == {"b"}
    found.obey(disabled=NOBODY, draining=NOBODY)
    assert states(found) == {"a": "healthy", "b": "healthy"}
    assert "a" in {named(found, f"n{number}") for number in range(20)}


def test_the_last_one_left_is_refused_too(tmp_path: Path) -> None:
    """Where merely a fallen one would be tried, a disabled one is not."""
    found = pool(tmp_path, "a")
    found.obey(disabled=frozenset({"anthropic/a"}), draining=NOBODY)
    with pytest.raises(UpstreamOverloaded):
        named(found, "s")


def test_draining_keeps_what_is_pinned_and_takes_nothing_new(tmp_path: Path) -> None:
    """As the file's own word, which stays when the command's is taken back."""
    found = pool(tmp_path, "a", "b", draining="b")
    assert {named(found, f"s{number}") for number in range(10)} == {"a"}
    found.obey(disabled=NOBODY, draining=frozenset({"anthropic/a"}))
    assert states(found) == {"a": "draining", "b": "draining"}
    assert named(found, "s1") == "a"
    found.obey(disabled=NOBODY, draining=NOBODY)
    assert states(found) == {"a": "healthy", "b": "draining"}


def test_a_changed_configuration_does_not_switch_it_on(tmp_path: Path) -> None:
    """It is the name that is switched off; one that comes later, too."""
    found = pool(tmp_path, "a", "b")
    found.obey(disabled=frozenset({"anthropic/a", "anthropic/c"}), draining=NOBODY)
    secret = str(tmp_path / "s")
    found.update(
        [Upstream("anthropic", "https://api.anthropic.com", credential=[
            Credential("a", secret_file=secret, weight=2), Credential("c", secret_file=secret)])],
        TRANSPORTS,
    )  # fmt: skip
    assert (states(found)["a"], states(found)["c"]) == ("disabled", "disabled")
