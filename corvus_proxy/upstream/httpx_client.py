"""The only module that imports httpx: checks of credentials, calls of payment services, and an
upstream client for egress through an HTTP proxy."""

import asyncio
import contextlib
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import httpx

from corvus_proxy.settings import TimeoutSettings
from corvus_proxy.upstream.faults import ConnectFailed, Cut, NoAnswer, TimedOut, UpstreamBroke
from corvus_proxy.upstream.transport import Origin, Request, resolve


class HttpxAnswer:
    """An answer read through httpx (`transport.Answer`)."""

    def __init__(self, response: httpx.Response, ends_s: float) -> None:
        self._response = response
        self._ends_s = ends_s
        """By the loop's clock: no answer may last longer."""
        self._chunks = response.aiter_raw()
        self._aborted = False
        self._ended = False
        self._reading: asyncio.Future[bytes | None] | None = None
        """A piece that is awaited; httpx ends a stream whose reader gives up waiting, we do not."""
        self.status = response.status_code
        self.headers = [(name.lower(), value) for name, value in response.headers.raw]

    async def chunk(self) -> bytes | None:
        """See `transport.Answer`."""
        if self._aborted:
            raise Cut("aborted by us")
        try:
            if self._reading is None:
                self._reading = asyncio.ensure_future(anext(self._chunks, None))
            async with asyncio.timeout_at(self._ends_s) as patience:
                found = await asyncio.shield(self._reading)
            self._reading = None
            self._ended = found is None
            return found
        except httpx.HTTPError as error:
            raise _fault(error, sent=True) from None
        except httpx.StreamError:
            raise Cut("aborted by us") from None
        except TimeoutError:
            if not patience.expired():
                raise
            raise TimedOut("total") from None

    async def read(self, bytes_max: int) -> bytes:
        """See `transport.Answer`."""
        parts = []
        size = 0
        while (part := await self.chunk()) is not None:
            size += len(part)
            if size > bytes_max:
                raise Cut(f"the answer is larger than {bytes_max} bytes")
            parts.append(part)
        return b"".join(parts)

    def abort(self) -> None:
        """See `transport.Answer`. httpx closes a stream only from its own task, so the connection
        under it is cut and the reader learns of it there."""
        if self._ended:
            return
        self._aborted = True
        stream = self._response.extensions.get("network_stream")
        raw = stream.get_extra_info("socket") if stream is not None else None
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.shutdown(2)

    async def __aenter__(self) -> "HttpxAnswer":
        return self

    async def __aexit__(self, *error: object) -> None:
        self._ended = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._response.aclose()


class HttpxTransport:
    """`transport.Transport` over httpx; honours the environment's HTTP proxy."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=4096, max_keepalive_connections=256)
        # An upstream's cookie is of one answer: sent with another's request it would tie customers,
        # and credentials, to each other.
        none = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self._client = httpx.AsyncClient(
            limits=limits, follow_redirects=False, timeout=300, cookies=none
        )

    async def open(
        self, origin: Origin, request: Request, *, timeouts: TimeoutSettings
    ) -> HttpxAnswer:
        """See `transport.Transport`."""
        ends_s = asyncio.get_running_loop().time() + timeouts.total_s
        scheme = "https" if origin.tls else "http"
        if not _has_proxy(scheme, origin.host):
            await _look_up(origin, timeouts.connect_s)
        built = self._client.build_request(
            request.method.decode(),
            f"{scheme}://{origin.authority}{request.target.decode()}",
            headers=request.headers,
            content=request.body,
            timeout=httpx.Timeout(
                timeouts.silence_s, connect=timeouts.connect_s, read=timeouts.first_byte_s
            ),
        )
        try:
            async with asyncio.timeout_at(ends_s) as patience:
                response = await self._client.send(built, stream=True)
        except httpx.HTTPError as error:
            raise _fault(error, sent=False) from None
        except TimeoutError:
            if not patience.expired():
                raise
            raise TimedOut("total") from None
        # httpx has one patience for every read: from the head on it is that of silence.
        built.extensions["timeout"]["read"] = timeouts.silence_s
        return HttpxAnswer(response, ends_s)

    async def close(self) -> None:
        await self._client.aclose()


def _has_proxy(scheme: str, host: str) -> bool:
    """Whether the environment names a proxy for it: that looks the name up itself, often where we
    cannot, and where it may lead is the proxy's to say."""
    named = getproxies()
    return bool(named.get(scheme) or named.get("all")) and not proxy_bypass(host)


async def _look_up(origin: Origin, patience_s: float) -> None:
    """Raises ConnectFailed where it has no address or none that is allowed, TimedOut."""
    try:
        async with asyncio.timeout(patience_s):
            await resolve(origin)
    except TimeoutError:
        raise TimedOut("connect") from None
    except OSError as error:
        raise ConnectFailed(f"{origin.authority}: {error}") from None


def _fault(error: httpx.HTTPError, *, sent: bool) -> UpstreamBroke:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return TimedOut("connect")
        case httpx.TimeoutException():
            return TimedOut("silence" if sent else "first_byte")
        case httpx.ConnectError():
            return ConnectFailed(str(error))
        case _:
            return Cut(str(error)) if sent else NoAnswer(str(error))


async def fetch_status(
    method: str,
    url: str,
    headers: dict[str, str],
    *,
    content: bytes | None,
    timeout_s: float,
    through_proxy: bool,
) -> int:
    """The status of one plain request; `through_proxy`: by the environment's, if it names one.
    Raises UpstreamBroke."""
    try:
        async with httpx.AsyncClient(
            follow_redirects=False, timeout=timeout_s, trust_env=through_proxy
        ) as client:
            response = await client.request(method, url, headers=headers, content=content)
            return response.status_code
    except httpx.HTTPError as error:
        raise _fault(error, sent=False) from None
    except (httpx.InvalidURL, ValueError) as error:  # of what the configuration says
        raise ConnectFailed(str(error)) from None


class Fetched(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes


class Caller:
    """Plain calls with whole answers over connections that are kept; for what is not the relay.

    Redirects are not followed: an answer elsewhere is not the answer of whom was asked.
    """

    def __init__(
        self, *, timeout_s: float, bytes_max: int = 1024 * 1024, through_proxy: bool = True
    ) -> None:
        """`through_proxy`: by the environment's, if it names one."""
        self._timeout_s = timeout_s
        self._bytes_max = bytes_max
        self._client = httpx.AsyncClient(
            follow_redirects=False, timeout=timeout_s, trust_env=through_proxy
        )

    async def fetch(
        self, method: str, url: str, headers: dict[str, str], *, content: bytes | None = None
    ) -> Fetched:
        """One call, answered within the patience given, from its first byte to the last of the
        answer. Raises UpstreamBroke; its text holds neither headers nor bodies."""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(method, url, headers=headers, content=content) as response,
            ):
                parts: list[bytes] = []
                async for part in response.aiter_bytes():
                    parts.append(part)
                    if sum(map(len, parts)) > self._bytes_max:
                        raise Cut(f"the answer is larger than {self._bytes_max} bytes")
                return Fetched(response.status_code, response.headers, b"".join(parts))
        except TimeoutError:
            raise TimedOut("silence") from None
        except httpx.HTTPError as error:
            raise _fault(error, sent=False) from None
        except (httpx.InvalidURL, ValueError) as error:  # of what the configuration says
            raise ConnectFailed(str(error)) from None

    async def close(self) -> None:
        """Ends its connections."""
        await self._client.aclose()


async def post_to(
    address: str, url: str, headers: dict[str, str], content: bytes, *, timeout_s: float
) -> int:
    """Posts to a URL at this very address, whatever its name says by now; the status, the answer
    unread. No redirect is followed and no proxy asked. Raises UpstreamBroke."""
    try:
        parts = httpx.URL(url)
        name = parts.raw_host.decode("ascii")
        host = f"{name}:{parts.port}" if parts.port else name
        async with (
            httpx.AsyncClient(follow_redirects=False, timeout=timeout_s, trust_env=False) as client,
            asyncio.timeout(timeout_s),
            client.stream(
                "POST",
                parts.copy_with(host=address),
                headers={**headers, "host": host},
                content=content,
                extensions={"sni_hostname": name},
            ) as response,
        ):
            return response.status_code
    except httpx.HTTPError as error:
        raise _fault(error, sent=False) from None
    except httpx.InvalidURL as error:
        raise NoAnswer(str(error)) from None
    except TimeoutError:
        raise TimedOut("first_byte") from None
