"""The operator's desk: what command line and console do alike, each deed with its audit row.

Rule 1: a deed has a reason and an actor (`cli:NAME`, `console:NAME`), and its audit row stands in
the transaction that does it.
Rule 2: what is switched off is in the books, and survives every restart; the worker tells it to the
gateways through Redis, again each second, as it does with budgets.
"""
