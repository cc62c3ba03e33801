"""Reading what a payment service answers, and writing amounts for it."""

from decimal import ROUND_FLOOR, Decimal

from corvus_proxy.errors import AnswerReading
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.shop.provider import ProviderUnavailable

NANOS_PER_CENT = 10_000_000


def reading(service: str) -> AnswerReading:
    """`with reading("Stripe"):` what is not what the protocol says is no answer:
    ProviderUnavailable."""
    return AnswerReading(ProviderUnavailable, f"{service} answers nonsense")


def text(value: object) -> str:
    """A text that is not empty. Raises ValueError."""
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


def whole(value: object) -> int:
    """A whole number that is not negative. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a whole number")
    return value


def decimal(value: object) -> Decimal:
    """A decimal: text, or a number of old versions. Raises ValueError, DecimalException."""
    found = Decimal(str(value))
    if not found.is_finite() or found.copy_abs() > Decimal(10) ** 15:
        raise ValueError("not a sensible amount")
    return found


def plain(value: Decimal) -> str:
    """A decimal without exponent and without zeros that say nothing."""
    found = f"{value:f}"
    return (found.rstrip("0").rstrip(".") or "0") if "." in found else found


def floor_nanos(dollars: Decimal) -> int:
    """Nanos, rounded down: what is not there is not credited."""
    return int((dollars * NANOS_PER_USD).to_integral_value(ROUND_FLOOR))


def to_cents(nanos: int) -> int:
    """Cents. Raises ValueError where it is not a whole number of them."""
    cents, rest = divmod(nanos, NANOS_PER_CENT)
    if rest:
        raise ValueError(f"{nanos} nanos are not whole cents")
    return cents


def dollars(cents: object) -> str:
    """`20.00`. Raises ValueError for what are no cents."""
    found = whole(cents)
    return f"{found // 100}.{found % 100:02d}"
