"""The books in Postgres: wallets and keys, events, double-entry postings, what pages read.

B1  An event and its postings are written once, in the transaction that moves the cursor past them.
B2  Every posting has a debit, a credit and a positive amount, so the books balance by construction.
B3  A wallet's balance is the fold of its events; it is written as the absolute figure that the
    event carries, and only onto the figure that must stand there before it.
"""
