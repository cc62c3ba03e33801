"""The text of a secret: shape, checksum, hash and mask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy import secret
from corvus_proxy.clock import BASE62
from corvus_proxy.money.event import PARTITIONS, partition_of


def test_a_new_secret_names_its_wallet() -> None:
    """The wallet, and so the partition, follows from the text alone."""
    wallet = secret.new_wallet_id()
    parsed = secret.parse(f"  {secret.new_secret(wallet)}\n")
    assert parsed is not None
    assert parsed.wallet == wallet
    assert 0 <= partition_of(wallet) < PARTITIONS


def test_partitions_are_redis_clusters_own_hash() -> None:
    """CRC-16/XMODEM: the check value of the catalogue of CRCs, and the spread over 64."""
    assert partition_of("123456789") == 0x31C3 % 64
    assert len({partition_of(secret.new_wallet_id()) for _ in range(2000)}) == PARTITIONS


@given(st.integers(10, 55), st.sampled_from(BASE62))
def test_one_wrong_character_never_reaches_redis(at: int, character: str) -> None:
    """The checksum sees every single typing error."""
    text = secret.new_secret("w_abcdefghijkl")
    wrong = text[:at] + character + text[at + 1 :]
    assert (secret.parse(wrong) is None) == (wrong != text)


@pytest.mark.parametrize("text", ["", "sk-corvus_", "sk-other_" + "a" * 46, "x" * 56])
def test_what_has_not_our_shape_is_none(text: str) -> None:
    """Other vendors' keys and fragments."""
    assert secret.parse(text) is None


def test_the_digest_needs_the_pepper_and_the_mask_tells_nothing() -> None:
    """What is stored and what is shown."""
    text = secret.new_secret("w_abcdefghijkl")
    assert secret.digest(text, b"a" * 32) != secret.digest(text, b"b" * 32)
    assert len(secret.digest(text, b"a" * 32)) == 64
    assert text[14:-4] not in secret.mask(text)
