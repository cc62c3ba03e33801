"""What an operator states on the pages of trust and law, beside the brand."""

from pathlib import Path

import msgspec

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings.secrets import read_file

CONTACTS = ("mailto:", "https://", "tel:")
"""How an address for reports of weaknesses begins."""
TEXTS = ("terms", "privacy", "notice")
"""Texts of the operator's own, each as an option or as a file."""


class TrustSettings(msgspec.Struct, frozen=True):
    """Facts on /trust and /legal; what is missing is shown as "not stated by the operator"."""

    entity: str = ""
    """The legal entity that runs the service: whom a customer buys from."""
    address: str = ""
    """Its postal address."""
    registration: str = ""
    """Register and number, tax number, supervising authority."""
    contact: str = ""
    """Where it is reached in writing: a mail address or a page."""
    privacy_contact: str = ""
    """Where questions on personal data go."""
    affiliation: str = ""
    """Owners, group and partners. The relation to the model vendors is `brand.independence`."""
    capacity: dict[str, str] = {}
    """Per family, where its capacity comes from and on what right it is sold on
    (`anthropic = "…"`)."""
    data_handling: str = ""
    """What becomes of prompts and answers outside this software: proxies and logs of yours, the
    vendors' own terms."""
    subprocessors: list[str] = []
    """Who else handles data for you, one an entry: `Example Hosting, Germany: servers`."""
    retention: str = ""
    """How long you keep backups and logs. What the software deletes by itself, and when, is
    `[retention]`; a backup has it until the backup goes."""
    support_hours: str = ""
    """When somebody answers at `brand.support`, and how fast."""
    compatibility: str = ""
    """What shows that the listed clients work here: what you test, how often, where results are."""
    security_contact: str = ""
    """Where weaknesses are reported: `mailto:security@example.com`, an https address or `tel:…`.
    Served as /.well-known/security.txt, which is absent without it."""
    publish_totals: bool = True
    """Whether /trust/proof shows the totals of days. Where customers are so few that a total tells
    what one of them does, turn it off."""


class LegalSettings(msgspec.Struct, frozen=True):
    """The operator's own legal texts, in Markdown, below what the software says of itself."""

    law: str = ""
    """Law and courts that apply."""
    terms: str = ""
    """Terms of service, or"""
    terms_file: str = ""
    """file with them."""
    privacy: str = ""
    """Privacy policy, or"""
    privacy_file: str = ""
    """file with it."""
    notice: str = ""
    """What the legal notice says beyond `[trust]`, or"""
    notice_file: str = ""
    """file with it."""

    def text(self, name: str) -> str:
        """One of `TEXTS`; empty where none is given. Raises ConfigurationError where both forms
        are, or the file cannot be read as UTF-8."""
        given, file = getattr(self, name), getattr(self, f"{name}_file")
        if given and file:
            raise ConfigurationError(f"legal.{name}: give a text or a file, not both")
        if not file:
            return str(given).strip()
        option = f"legal.{name}_file"
        try:
            return read_file(Path(file), option).decode().strip()
        except UnicodeDecodeError:
            raise ConfigurationError(f"{option}: {file} is not UTF-8") from None
