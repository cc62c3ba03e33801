"""Faults that cannot be made yet, each with what it needs: named, so that nobody takes them for
passed."""

from corvus_proxy.ops.drill.faults import Fault

FAULTS = (
    Fault(
        22,
        "slot moved to another node",
        "a slot of a Redis Cluster is moved under load",
        "a pause of 2 s at most",
        needs="needs a Redis Cluster",
    ),
    Fault(
        31,
        "webhooks: twice, forged, lost",
        "payment webhooks ten times over, reordered, late, forged, altered, lost, too early",
        "one credit each; a forged one has no effect",
        needs="needs a shop",
    ),
    Fault(
        32,
        "payment reversed",
        "the provider says paid, then reverses",
        "what is free is taken back, the rest is owed, the wallet is frozen",
        needs="needs a shop",
    ),
    Fault(
        33,
        "applier killed",
        "kill -9 between the credit in Redis and the order's row",
        "the credit is found done, the order is applied",
        needs="needs a shop",
    ),
)
