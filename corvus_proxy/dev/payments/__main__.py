"""`corvus dev payments`."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

import uvloop

from corvus_proxy.dev.payments import __doc__ as about
from corvus_proxy.dev.payments.server import BTCPAY_KEY, STORE, STRIPE_KEY, Payments, run


def main(arguments: list[str] | None = None) -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="corvus dev payments",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="gets the port once it listens")
    parser.add_argument(
        "--log", type=Path, help="file of all requests and payments; read again at the next start"
    )
    parser.add_argument("--page-url", default="", help="where browsers find the payment pages")
    parser.add_argument("--stripe-hook", default="", help="where Stripe's messages go")
    parser.add_argument("--btcpay-hook", default="", help="where BTCPay's messages go")
    parser.add_argument(
        "--secrets", type=Path, help="folder of the files stripe-key, stripe-hook, btcpay-key, …"
    )
    parser.add_argument(
        "--block-s", type=float, default=1.0, help="pause between two blocks; 0: on demand"
    )
    options = parser.parse_args(arguments)

    def secret(name: str, usual: str) -> str:
        return (options.secrets / name).read_text().strip() if options.secrets else usual

    payments = Payments(
        log=options.log,
        stripe_key=secret("stripe-key", STRIPE_KEY),
        btcpay_key=secret("btcpay-key", BTCPAY_KEY),
        store=STORE,
        block_s=options.block_s,
    )
    payments.place(options.page_url)
    payments.cards.hooks.url = options.stripe_hook
    payments.cards.hooks.secret = secret("stripe-hook", "whsec_simulated")
    payments.coins.hooks.url = options.btcpay_hook
    payments.coins.hooks.secret = secret("btcpay-hook", "simulated-btcpay-hook")

    async def forever() -> None:
        listener = await run(payments, options.host, options.port)
        if options.port_file:
            partial = options.port_file.with_name(options.port_file.name + ".partial")
            partial.write_text(f"{listener.port}\n")
            os.replace(partial, options.port_file)
        sys.stdout.write(f"simulated payment services on {listener.url}\n")
        sys.stdout.flush()
        await payments.live()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(forever())


if __name__ == "__main__":
    main()
