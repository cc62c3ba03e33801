"""Which credential a request is tried with, and how far a try may go before it counts."""
