"""The log-in: an operator's token, by POST, not too often."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import metrics
from corvus_proxy.console.front import Front
from corvus_proxy.console.pages import redirect
from corvus_proxy.service.operating import operators


class Login:
    """Views of `/login` and `/logout`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Their routes."""
        return [
            Route("/login", self.form),
            Route("/login", self.send, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
        ]

    async def form(self, request: Request) -> Response:
        """`GET /login`."""
        return self._page("")

    async def send(self, request: Request) -> Response:
        """`POST /login`: whoever has a token is let in, by a cookie that is made now."""
        front = self._front
        if not front.is_own(request):
            return front.foreign()
        address = request.client.host if request.client else ""
        if wait_s := front.tries.take(address):
            metrics.LOGIN_FAILURES.labels("throttled").inc()
            return self._page(f"Too many wrong tokens. Try again in {wait_s} seconds.", 429)
        found = await operators.log_in(front.stores, (await front.fields(request)).get("token", ""))
        if found is None:
            metrics.LOGIN_FAILURES.labels("operator").inc()
            return self._page("This token is nobody's. It begins with op-corvus_.", 403)
        front.tries.give_back(address)
        answer = redirect("/")
        front.log_in(answer, found)
        return answer

    async def leave(self, request: Request) -> Response:
        """`POST /logout`."""
        if not self._front.is_own(request):
            return self._front.foreign()
        answer = redirect("/login")
        self._front.log_out(answer)
        return answer

    def _page(self, problem: str, status: int = 200) -> Response:
        return self._front.pages.page("login.html", status=status, problem=problem)
