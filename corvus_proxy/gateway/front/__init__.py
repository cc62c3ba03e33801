"""The API port's own side: the server's adapter, the routes, and what they answer by themselves."""
