"""The operator's desk at a terminal: each command is one call of `service.operating`."""
