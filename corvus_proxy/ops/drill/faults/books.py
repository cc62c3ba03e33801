"""Faults of the books: the writer killed at every step, Postgres away, behind, full, or lied to."""

from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.links import DOWN, UP, Seen


def asks_commit(seen: Seen) -> bool:
    """A COMMIT on its way to Postgres."""
    return seen.way == UP and b"COMMIT" in seen.data


def committed(seen: Seen) -> bool:
    """Postgres's word that it has committed, on its way back."""
    return seen.way == DOWN and b"COMMIT\x00" in seen.data


def asks_ack(seen: Seen) -> bool:
    """The writer's `ack` on its way to Redis, after the commit."""
    return seen.way == UP and seen.call is not None and seen.call.name == "ack"


async def kill_writer(scene: Scene) -> None:
    """24"""
    for link_name, matches in (
        ("worker>postgres", asks_commit),
        ("worker>postgres", committed),
        ("worker>redis", asks_ack),
    ):
        await scene.kill_when(scene.worker, scene.link(link_name), matches, within=6)
        await scene.wait(0.2, 0.5)
        scene.worker.start()
        await scene.wait(1.2, 1.6)
    await kill_in_archive(scene)
    scene.worker.start()


async def kill_in_archive(scene: Scene) -> None:
    """kill -9 while the archive is written; then its last line is cut short, as by a power cut."""
    folder = scene.stack.folder / "archive"

    def size() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    before = size()
    await scene.until(lambda: size() > before, "the archive grows")
    scene.worker.kill()
    newest = max((path for path in folder.rglob("*") if path.is_file()),
                 key=lambda path: path.stat().st_mtime_ns)  # fmt: skip
    with newest.open("rb+") as file:
        file.truncate(newest.stat().st_size - scene.chance.randint(1, 40))


FAULTS = (
    Fault(
        24,
        "writer killed",
        "kill -9 of the worker as a COMMIT leaves; as its answer comes; as the `ack` leaves; while"
        " the archive is written, whose last line is then cut",
        "no gap and no double in the books; only the lag grows",
        kill_writer,
    ),
)
