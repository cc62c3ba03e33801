"""Orders, payments, refunds, links and cash in Postgres."""
