"""The secrets of an installation, as a backup keeps them: apart from the books that they open."""

import os
from pathlib import Path
from typing import Any

import msgspec

from corvus_proxy import pepper as peppers
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.backup import cipher
from corvus_proxy.ops.state import State, write_private
from corvus_proxy.settings import Settings


class Kept(msgspec.Struct, frozen=True):
    """Secrets in a backup. Its `repr` shows none of them."""

    pepper: str
    other_peppers: list[str]
    files: dict[str, str]
    """What the configuration names by file, by option: upstreams' keys, payment services, mail."""
    demo_key: str = ""
    """The demo key of `corvus up`, sealed under the pepper."""

    def __repr__(self) -> str:
        return f"Kept({len(self.files)} files)"

    def ids(self) -> list[str]:
        """The ids of its peppers, the current one first."""
        return [peppers.id_of(text.encode()) for text in (self.pepper, *self.other_peppers)]


def named_files(settings: Settings) -> dict[str, str]:
    """Paths of the secrets that the configuration names by file, by option."""
    found = {
        f"{section}.{option}": getattr(getattr(settings, section), option)
        for section, option in (
            ("stripe", "secret_key_file"), ("stripe", "webhook_secret_file"),
            ("btcpay", "api_key_file"), ("btcpay", "webhook_secret_file"),
            ("mail", "password_file"),
        )
    }  # fmt: skip
    for upstream in settings.upstream:
        for one in upstream.credential:
            name = f"credential.{upstream.family}.{one.name}"
            found[name] = one.secret_file
            found[f"{name}.admin"] = one.admin_secret_file
    return {option: path for option, path in found.items() if path}


def gather(settings: Settings, state: State | None) -> Kept:
    """The secrets as they are now. Raises ConfigurationError (no pepper)."""
    current, *others = peppers.all_of(settings.pepper())
    files = {}
    for option, path in named_files(settings).items():
        if Path(path).is_file():
            files[option] = Path(path).read_text()
    demo = state.sealed_key if state is not None else None
    return Kept(
        current.decode(),
        [one.decode() for one in others],
        files,
        demo.read_text() if demo is not None and demo.exists() else "",
    )


def write(kept: Kept, target: Path, key: bytes | None) -> None:
    """Writes secrets into a new file of mode 0600, encrypted where there is a key."""
    text = msgspec.json.encode(kept)
    if key is not None:
        sealer = cipher.Sealer(key)
        text = sealer.head + sealer.add(text) + sealer.end()
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)


def read(path: Path, key: bytes | None) -> Kept:
    """Secrets from a file. Raises ConfigurationError where they do not open."""
    try:
        with path.open("rb") as file:
            encrypted = file.read(len(cipher.MARK)) == cipher.MARK
            file.seek(0)
            if encrypted and key is None:
                raise ConfigurationError(f"{path} is encrypted: name its --key-file")
            text = b"".join(cipher.opened(file, key, str(path))) if key and encrypted else b""
            return msgspec.json.decode(text or file.read(), type=Kept)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path} holds no secrets of a backup: {error}") from None


def put_back(kept: Kept, settings: Settings) -> list[str]:
    """Writes the secrets that a configuration names by file and that are not there; the options.
    None is overwritten. Raises ConfigurationError where another pepper is in place."""
    written = []
    places: dict[str, Any] = {"secrets.pepper_file": (settings.secrets.pepper_file, kept.pepper)}
    for number, (path, text) in enumerate(
        zip(settings.secrets.other_pepper_files, kept.other_peppers, strict=False)
    ):
        places[f"secrets.other_pepper_files.{number}"] = (path, text)
    for option, path in named_files(settings).items():
        if option in kept.files:
            places[option] = (path, kept.files[option])
    for option, (path, text) in places.items():
        if path and not Path(path).exists():
            Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(Path(path), text)
            written.append(option)
    return written


def check(settings: Settings, used: list[str]) -> list[str]:
    """Those of the backup's older peppers that are not configured. `used`: the ids of its current
    one and of the older ones that stood beside it. Raises ConfigurationError where the current one
    is not configured."""
    have = {peppers.id_of(one) for one in peppers.all_of(settings.pepper())}
    current, *older = used
    if current not in have:
        raise ConfigurationError(
            f"the backup's keys need the pepper {current}, and the configured one is another:"
            " put the old pepper back, or name the secrets file of the backup (--secrets)"
        )
    return [one for one in older if one not in have]
