"""A till on a Redis Cluster: which server has which partition, and what happens as that changes.

All keys of a partition have one hash tag, so a script call is one server's; which one is redis-py's
to know (`redis.asyncio.cluster`). The fence is per partition: its stamp is the replication id of
the server that has its slot. A failover, a moved slot and a first replica all change that id, and
the partition is opened again by the coordinator, as after a restart.
"""
