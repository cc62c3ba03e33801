"""How public answers go out: with an ETag, packed where the client takes that, open to other sites.

Rule 1: only what is the same for everybody comes here. A packed answer that holds a secret beside
a visitor's own words would tell the secret by its length.
"""

import gzip
import hashlib
from collections.abc import Hashable, Mapping
from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from corvus_proxy.site import render

PUBLIC = {**render.HEADERS, "cache-control": "public, max-age=60"}
OPEN = {**PUBLIC, "access-control-allow-origin": "*"}
"""Of documents for programs, which pages of other sites may read as well."""
HTML = "text/html; charset=utf-8"
MARKDOWN = "text/markdown; charset=utf-8"
JSON = "application/json"
KEPT_MAX = 400
"""Bodies of one site that are kept, of some ten KB each."""
PACKED_BYTES_MIN = 1024
"""Below this, packing saves no packet."""


class Body(NamedTuple):
    """What is sent, made once for as many as ask for it."""

    data: bytes
    packed: bytes
    """The same, gzipped; empty where that is not worth it."""
    etag: str
    kind: str


def body(data: bytes, kind: str) -> Body:
    """A body ready to be sent."""
    packed = gzip.compress(data, 6, mtime=0) if len(data) >= PACKED_BYTES_MIN else b""
    # Weak: it names the content, packed or not.
    return Body(data, packed, f'W/"{hashlib.sha256(data).hexdigest()[:20]}"', kind)


def encode(document: object) -> bytes:
    """A document for programs as bytes: the same document always as the same ones."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def send(
    request: Request, found: Body, headers: Mapping[str, str] = PUBLIC, status: int = 200
) -> Response:
    """The answer to one request: 304 where the client has it already."""
    told = {**headers, "etag": found.etag, "vary": "accept-encoding"}
    known = request.headers.get("if-none-match", "")
    if status == 200 and (known == "*" or _bare(found.etag) in map(_bare, known.split(","))):
        return Response(status_code=304, headers=told)
    if found.packed and takes_gzip(request.headers.get("accept-encoding", "")):
        told["content-encoding"] = "gzip"
        return Response(found.packed, status, told, media_type=found.kind)
    return Response(found.data, status, told, media_type=found.kind)


def takes_gzip(accepted: str) -> bool:
    """Whether an `Accept-Encoding` names gzip, or anything, and does not rule it out."""
    weights = {}
    for one in accepted.lower().split(","):
        name, _, parameter = one.partition(";")
        weights[name.strip()] = parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00")
    return weights.get("gzip", weights.get("*", False))


class Kept:
    """Bodies that are costly to make, kept for as long as what they were made from is the same
    object. The oldest goes where there are too many."""

    def __init__(self, most: int = KEPT_MAX) -> None:
        self._most = most
        self._source: object = None
        self._bodies: dict[Hashable, Body] = {}

    def get(self, source: object, key: Hashable) -> Body | None:
        """The body of that key, made from that very object."""
        return self._bodies.get(key) if source is self._source else None

    def put(self, source: object, key: Hashable, found: Body) -> Body:
        """Keeps a body."""
        if source is not self._source:
            self._source, self._bodies = source, {}
        if len(self._bodies) >= self._most:
            del self._bodies[next(iter(self._bodies))]
        self._bodies[key] = found
        return found


def _bare(etag: str) -> str:
    return etag.strip().removeprefix("W/")
