"""What an operator who sells states: the brand, the shop, the payment services, the mail server."""

import msgspec

from corvus_proxy.settings.secrets import Named, Rotating, read_secret


class BrandSettings(msgspec.Struct, frozen=True):
    """Facts about the operator that pages and answers show."""

    name: str = "Corvus"
    """Name of the service."""
    site_url: str = "http://127.0.0.1:8081"
    """Public address of the site, without a slash at its end."""
    api_url: str = "http://127.0.0.1:8080"
    """Public address of the API, without /v1."""
    support: str = ""
    """Where customers get help. Pages are closed without it."""
    independence: str = ""
    """One sentence on the operator's relation to the model vendors. Pages are closed without it."""
    refunds: str = ""
    """The refund rule, in full, as it is shown before a payment. Pages are closed without it."""


class ShopSettings(msgspec.Struct, frozen=True):
    """What is sold, and how long an order waits for its money."""

    packages_usd: list[str] = msgspec.field(default_factory=lambda: ["5", "10", "20", "50", "100"])
    """Amounts that are offered beside the free one."""
    preset_usd: str = "20"
    """The amount that the form comes with."""
    amount_min_usd: str = "1"
    """Smallest amount that can be bought."""
    amount_max_usd: str = "10000"
    """Largest amount that can be bought at once."""
    fee_percent: str = "0"
    """Fee on top of the amount, in percent, rounded up to a cent; a line of its own."""
    fee_fixed_usd: str = "0"
    """Fee on top of the amount and of `fee_percent`."""
    tax_percent: str = "0"
    """Tax on amount and fee, rounded to a cent; a line of its own."""
    tax_name: str = "VAT"
    """Its name."""
    dust_usd: str = "0.10"
    """A payment below this is left to the operator."""
    refund_alone_usd: str = ""
    """So much of an order one operator may send back alone; a refund by which it is more waits for
    another operator's `corvus refunds approve`. Empty: all."""
    quote_s: int = 1800
    """How long an order waits for its payment at the quoted rate."""
    watch_days: int = 7
    """How long after that the payment service is still asked: a late payment is credited."""
    poll_s: int = 15
    """Pause between two questions to the payment service about an open order."""
    reveal_days: int = 7
    """How long the sealed copy of a new key is kept for its buyer, unless claimed before."""
    recovery_wait_h: int = 24
    """How long recovery by proof of payment waits, so that the owner can object."""
    mail_key: bool = False
    """Puts the key itself into the delivery mail, beside the claim link."""


def is_test_key(key: str) -> bool:
    """Whether a secret key of Stripe is of its test mode."""
    return "_test_" in key


class StripeSettings(msgspec.Struct, frozen=True):
    """Stripe Checkout. Offered when a secret key is given."""

    api_base: str = "https://api.stripe.com"
    """Where its API is."""
    secret_key_env: str = ""
    """Environment variable with the secret key, or"""
    secret_key_file: str = ""
    """file with it."""
    webhook_secret_env: str = ""
    """Environment variable with the webhook's signing secret, or"""
    webhook_secret_file: str = ""
    """file with it; one per line while it is changed, each is taken."""
    checkout_origin: str = "https://checkout.stripe.com"
    """Origin of its payment page, which our forms may lead to."""
    timeout_s: float = 10.0
    """Patience with one call."""

    def secret_key(self) -> Rotating:
        """The API's secret key; empty: not offered. Raises ConfigurationError."""
        return Rotating(Named("stripe.secret_key", self.secret_key_env, self.secret_key_file))

    def test_mode(self) -> bool:
        """Whether the secret key is of Stripe's test mode, in which no money moves. Raises
        ConfigurationError."""
        return is_test_key(self.secret_key().first())

    def webhook_secrets(self) -> Rotating:
        """The webhook's signing secrets. Raises ConfigurationError."""
        return Rotating(
            Named("stripe.webhook_secret", self.webhook_secret_env, self.webhook_secret_file)
        )


class BtcpaySettings(msgspec.Struct, frozen=True):
    """BTCPay Server's Greenfield API, for payments on chain. Offered when a URL is given."""

    url: str = ""
    """The server's address."""
    store_id: str = ""
    """The store that receives."""
    api_key_env: str = ""
    """Environment variable with an API key that may create and read invoices, or"""
    api_key_file: str = ""
    """file with it."""
    webhook_secret_env: str = ""
    """Environment variable with the webhook's secret, or"""
    webhook_secret_file: str = ""
    """file with it; one per line while it is changed, each is taken."""
    payment_method: str = "BTC-CHAIN"
    """The payment method whose destination and amount the order page shows."""
    confirmations: int = 2
    """Confirmations that the store is set to wait for, as the order page says."""
    timeout_s: float = 10.0
    """Patience with one call."""

    def api_key(self) -> Rotating:
        """The API key; empty where none is named. Raises ConfigurationError."""
        return Rotating(Named("btcpay.api_key", self.api_key_env, self.api_key_file))

    def webhook_secrets(self) -> Rotating:
        """The webhook's secrets. Raises ConfigurationError."""
        return Rotating(
            Named("btcpay.webhook_secret", self.webhook_secret_env, self.webhook_secret_file)
        )


class MailSettings(msgspec.Struct, frozen=True):
    """The mail server. Without a host no mail is sent, and checkout says so."""

    host: str = ""
    """Name or address of the SMTP server."""
    port: int = 587
    """Its port."""
    security: str = "starttls"
    """`starttls`, `tls` (from the first byte) or `none` (for a server on this machine)."""
    user: str = ""
    """User name; empty: no log-in."""
    password_env: str = ""
    """Environment variable with the password, or"""
    password_file: str = ""
    """file with it."""
    sender: str = ""
    """Address that mail comes from, as `Corvus <keys@example.com>`."""
    timeout_s: float = 20.0
    """Patience with the server."""
    attempts_max: int = 8
    """After so many tries a mail counts as bounced; the pauses double from 30 s."""

    def password(self) -> str:
        """The password; empty where none is named. Raises ConfigurationError."""
        return read_secret(Named("mail.password", self.password_env, self.password_file))
