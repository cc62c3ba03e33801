"""`corvus`: noun, verb, options; each command is one call of a service function.

Exit codes: 0 ok · 1 error · 2 usage · 3 drift found · 4 needs approval · 5 partly done.
With `--json`, stdout is one JSON document.
Imports stand inside the commands, so that each starts as quickly as it can.
"""

import sys
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from corvus_proxy import __version__
from corvus_proxy.errors import CorvusError
from corvus_proxy.ops.commands import (
    drill,
    keys,
    ledger,
    orders,
    prices,
    reconcile,
    stack,
    status,
    upkeep,
)
from corvus_proxy.ops.commands.common import Common, settings_of
from corvus_proxy.ops.commands.desk import (
    audit,
    mail,
    metrics,
    models,
    operators,
    pools,
    refunds,
    sales,
    today,
)

app = App(name="corvus", help="A prepaid gateway for LLM APIs.", version=__version__)
dev = App(name="dev", help="Simulated neighbours.")
app.command(stack.app, name="*")
for sub in (keys.app, orders.app, ledger.app, dev, prices.app, drill.app, status.app):
    app.command(sub)
for sub in (upkeep.db, upkeep.backup, upkeep.secrets_app):
    app.command(sub)
for module in (audit, mail, metrics, models, operators, pools, refunds, sales):
    app.command(module.app)
app.command(today.today)
app.command(reconcile.app)


@app.command
def doctor(*, production: bool = False, common: Common | None = None) -> None:
    """Checks this installation and says what to do.

    Parameters
    ----------
    production
        Also what has to be so before customers may come.
    """
    from corvus_proxy.ops import doctor as checks
    from corvus_proxy.ops.state import State
    from corvus_proxy.settings import config_path

    common = common or Common()
    raise SystemExit(
        checks.run(
            settings_of(common),
            production=production,
            as_json=common.json,
            config=common.config or config_path() or State(common.state).config,
        )
    )


@dev.command(help_flags=[])
def providers(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Simulated Anthropic, OpenAI and Z.AI.

    Parameters
    ----------
    arguments
        Options of the program, `--help` among them.
    """
    from corvus_proxy.dev import providers as simulated

    simulated.main(list(arguments))


@dev.command(help_flags=[])
def payments(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Simulated Stripe and BTCPay Server.

    Parameters
    ----------
    arguments
        Options of the program, `--help` among them.
    """
    from corvus_proxy.dev.payments import __main__ as simulated

    simulated.main(list(arguments))


@dev.command(name="mail", help_flags=[])
def dev_mail(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """A mail server that shows what it received.

    Parameters
    ----------
    arguments
        Options of the program, `--help` among them.
    """
    from corvus_proxy.dev.mail import server

    server.main(list(arguments))


@app.command(name="completion")
def complete(shell: Literal["bash", "zsh", "fish"]) -> None:
    """A script on stdout that makes a shell complete commands and options.

    Parameters
    ----------
    shell
        For bash `eval "$(corvus completion bash)"` in ~/.bashrc; others alike.
    """
    sys.stdout.write(app.generate_completion(prog_name="corvus", shell=shell))


def main() -> None:
    """The entry point: errors of ours are one sentence, not a traceback."""
    try:
        app(sys.argv[1:], exit_on_error=False)
    except CycloptsError:
        sys.exit(2)  # cyclopts has said what was wrong with the words
    except (CorvusError, ValueError, LookupError) as error:
        sys.stderr.write(f"corvus: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
