"""All faults, by number."""

from corvus_proxy.ops.drill.faults import Fault, absent, books, gateway, redis

ROOMS = (gateway, redis, books, absent)

TABLE: dict[int, Fault] = {
    fault.number: fault
    for fault in sorted((one for room in ROOMS for one in room.FAULTS), key=lambda one: one.number)
}
