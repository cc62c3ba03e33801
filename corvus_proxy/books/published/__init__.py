"""What of the books is published: sums over all wallets and results of checks, of nobody's own."""
