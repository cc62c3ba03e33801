"""The folder of backups: what counts as one, which is the newest, which go."""

from pathlib import Path

import msgspec
import pytest

from corvus_proxy import clock, pepper
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.backup import folder, keeping
from corvus_proxy.settings import Credential, SecretsSettings, Settings, Upstream


def manifest(at_ms: int) -> folder.Manifest:
    return folder.Manifest(
        at_ms, "0.2.0", "18.6", "pg_dump (PostgreSQL) 18.6", ["0001"], {"p07": "1-3"}, 2,
        5, 3, ["p"], encrypted=False, files={"books.dump": folder.File(4, "00")},
    )  # fmt: skip


def add(to: Path, name: str, at_ms: int) -> Path:
    made = to / name
    made.mkdir(parents=True)
    (made / folder.DUMP).write_bytes(b"dump")
    (made / folder.MANIFEST).write_bytes(msgspec.json.encode(manifest(at_ms)))
    return made


def test_only_whole_backups_count_and_the_newest_stay(tmp_path: Path) -> None:
    """Neither a folder without a manifest nor one of a dead run is a backup, or is pruned; secrets
    that lie apart go with their dump."""
    to, apart = tmp_path / "backups", tmp_path / "secrets"
    apart.mkdir()
    for number in range(4):
        add(to, f"b{number}", 1000 * number)
        folder.secrets_path(str(apart), f"b{number}").write_text("{}")
    (to / "mine").mkdir()
    add(to, f"{folder.PARTIAL}b9", 9000)
    assert [path.name for path, _ in folder.complete(to)] == ["b3", "b2", "b1", "b0"]
    assert folder.prune(to, 0, str(apart)) == []
    assert folder.prune(to, 2, str(apart)) == ["b1", "b0"]
    assert sorted(path.name for path in to.iterdir()) == [f"{folder.PARTIAL}b9", "b2", "b3", "mine"]
    assert sorted(path.name for path in apart.iterdir()) == ["b2.secrets", "b3.secrets"]


def test_a_run_clears_what_a_dead_one_left_and_keeps_a_second_out(tmp_path: Path) -> None:
    """The folder is held for one at a time."""
    add(tmp_path, f"{folder.PARTIAL}old", 1)
    with folder.taken(tmp_path):
        assert not list(tmp_path.glob(f"{folder.PARTIAL}*"))
        with pytest.raises(ConfigurationError, match="another backup"), folder.taken(tmp_path):
            pass
    with folder.taken(tmp_path):
        pass


def test_the_age_is_the_newest_ones(tmp_path: Path) -> None:
    """In seconds; none without a backup."""
    assert folder.age_s(tmp_path / "nowhere") is None
    add(tmp_path, "old", 1000)
    add(tmp_path, "new", clock.wall_ms() - 60_000)
    assert 60 <= (folder.age_s(tmp_path) or 0) < 70
    assert folder.chosen(tmp_path, "").name == "new"
    assert folder.chosen(tmp_path / "old", "").name == "old"
    with pytest.raises(ConfigurationError, match="set backup"):
        folder.chosen(None, "")


def test_secrets_are_for_their_owner_alone_and_show_in_no_repr(tmp_path: Path) -> None:
    """Mode 0600 from the first byte; encrypted ones want their key."""
    kept = keeping.Kept("p" * 32, ["o" * 32], {"stripe.secret_key_file": "sk_live_1"})
    assert "p" * 32 not in repr(kept)
    assert "sk_live" not in repr(kept)
    for name, key in (("plain", None), ("sealed", b"k" * 32)):
        keeping.write(kept, tmp_path / name, key)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert keeping.read(tmp_path / name, key) == kept
        assert (b"sk_live_1" in (tmp_path / name).read_bytes()) == (key is None)
    with pytest.raises(ConfigurationError, match="--key-file"):
        keeping.read(tmp_path / "sealed", None)


def test_every_secret_that_a_credential_names_by_file_is_kept(tmp_path: Path) -> None:
    """Its key, and the admin key that reads the account's reports."""
    for name in ("key", "admin"):
        (tmp_path / name).write_text(f"{name} text")
    one = Credential(
        name="o1", secret_file=str(tmp_path / "key"), admin_secret_file=str(tmp_path / "admin")
    )
    (tmp_path / "pepper").write_text("p" * 32)
    settings = Settings(
        secrets=SecretsSettings(pepper_file=str(tmp_path / "pepper")),
        upstream=[Upstream("openai", "http://u", credential=[one])],
    )
    kept = keeping.gather(settings, None)
    assert sorted(kept.files.values()) == ["admin text", "key text"]
    (tmp_path / "admin").unlink()
    assert keeping.put_back(kept, settings) == ["credential.openai.o1.admin"]
    assert (tmp_path / "admin").read_text() == "admin text"


def test_a_pepper_that_the_backup_had_beside_its_own_is_missed(tmp_path: Path) -> None:
    """It was taken in the midst of a change. Without the current one nothing works: refused.
    Without the older one those keys do not work that still rest on it: told."""
    for name in ("new", "old"):
        (tmp_path / name).write_text(name[0] * 32)
    new, old = (pepper.id_of(name * 32) for name in (b"n", b"o"))
    others = [str(tmp_path / "old")]
    both = SecretsSettings(pepper_file=str(tmp_path / "new"), other_pepper_files=others)
    assert keeping.check(Settings(secrets=both), [new, old]) == []
    alone = SecretsSettings(pepper_file=str(tmp_path / "new"))
    assert keeping.check(Settings(secrets=alone), [new, old]) == [old]
    with pytest.raises(ConfigurationError, match=f"need the pepper {old}"):
        keeping.check(Settings(secrets=alone), [old, new])
