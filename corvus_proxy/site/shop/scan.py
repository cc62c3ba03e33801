"""What a wallet application scans: a payment address with its amount, as text and as a picture."""

import segno
from markupsafe import Markup

SCHEMES = {"BTC": "bitcoin"}
"""Assets whose addresses have a URI scheme with an amount in the asset's own unit (BIP 21)."""


def payment_uri(asset: str, destination: str, amount: str) -> str:
    """`bitcoin:ADDRESS?amount=AMOUNT`; for other assets the address alone."""
    scheme = SCHEMES.get(asset)
    if scheme is None:
        return destination
    return f"{scheme}:{destination}?amount={amount}" if amount else f"{scheme}:{destination}"


def picture(text: str) -> Markup:
    """A QR code as an inline drawing, dark on white whatever the page's colours."""
    drawing = segno.make(text, error="m", micro=False).svg_inline(
        omitsize=True, border=4, light="#fff", svgclass="qr", lineclass=None
    )
    return Markup(drawing)  # noqa: S704 - made by us: paths alone, and no text of anybody's
