"""Money: integers in, integers out. No I/O, no clock, no float.

M1  Balances, holds, charges and costs are nano-dollars (`_nanos`, USD 1e-9).
M2  Prices are pico-dollars per token (`_picos`; USD per million tokens x 1e6).
M3  A charge is rounded once, half up, to a nano-dollar (`amount.round_to_nanos`).
M4  Bill, hold, quote, calculator and pages use the four functions of `pricing`, nothing else.
M5  No amount exceeds `amount.NANOS_MAX`; a wallet holds at most `amount.WALLET_NANOS_MAX`.
"""
