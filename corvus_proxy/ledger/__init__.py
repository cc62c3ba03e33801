"""The slow path: from Redis's events to the books, and the decisions that need both.

The writer copies, `verify` compares, the coordinator opens partitions after a restart, the outbox
tells Redis what the books decided. With `service` and `shop` the only code that uses both.
"""
