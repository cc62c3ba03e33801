"""Selling balance: prices, states, payment services, settling, refunds, mail."""
