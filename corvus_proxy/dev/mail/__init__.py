"""A mail server that keeps what it receives, and shows it on a page. `corvus dev mail`."""
