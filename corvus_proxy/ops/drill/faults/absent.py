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
)
