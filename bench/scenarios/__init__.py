"""What is measured: a function each, whose first sentence says what it is."""

from collections.abc import Callable

from bench.scenarios import holding, money, plain, streaming
from bench.scenarios.base import QUICK, Bench, Plan
from bench.scenarios.quiet import quiet

SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "plain": plain.saturation,
    "server": plain.server,
    "rate": plain.rate,
    "crowds": plain.crowds,
    "streams": streaming.few,
    "server_streams": streaming.server,
    "streams640": streaming.many,
    "rig": streaming.rig,
    "bodies": plain.bodies,
    "held": holding.held,
    "stalled": holding.stalled,
    "idle": holding.idle,
    "large": holding.large,
    "processes": plain.gateway_processes,
    "wallets": money.wallets,
    "killed": money.killed,
    "million": money.million,
    "quiet": quiet,
}

__all__ = ["QUICK", "SCENARIOS", "Bench", "Plan"]
