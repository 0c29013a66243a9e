"""Access checks and security headers.

A server on 127.0.0.1 can be reached by any web page in the same browser, hence the checks of host
and origin.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eyesight.web.problems import refusal

COOKIE = "eyesight_token"
OPEN = ("/api/health", "/static/", "/language/", "/token")  # without a token
# A public server needs a token for what begins with these.
CHANGING = (
    "/api/reader/train",
    "/api/reader/samples",
    "/api/review/decisions",
    "/api/review/undo",
    "/studio",
    "/use",
)
POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
STATIC = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
ALL = [*STATIC, (b"cache-control", b"no-store")]


class Guard:
    """Add security headers, and reject other origins and clients without the token.

    A `public` server, reachable by other machines, needs a token for every change.
    """

    def __init__(self, app: ASGIApp, token: str | None = None, *, public: bool = False) -> None:
        self.app, self.token, self.public = app, token, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.setdefault("headers", [])
                names = {name.lower() for name, _ in given}
                given.extend(
                    pair
                    for pair in (STATIC if scope["path"].startswith("/static/") else ALL)
                    if pair[0] not in names
                )
            await send(message)

        await (self.refusal(scope) or self.app)(scope, receive, send_guarded)

    def refusal(self, scope: Scope) -> Response | None:
        """The error response to a rejected request; None if it is allowed."""
        request = Request(scope)
        if self.from_another_site(request):
            return refusal(
                request,
                403,
                "the request comes from another site's page",
                "use the pages of this server",
            )
        if self.token is None and self.public and scope["path"].startswith(CHANGING):
            return refusal(
                request,
                403,
                "on a server that other machines can reach, this needs a token",
                "start the server with --token TOKEN",
            )
        if self.token is None or scope["path"].startswith(OPEN):
            return None
        if self._matches(_bearer(request.headers)) or self._matches(_cookie(request.headers)):
            return None
        if self._matches(request.query_params.get("token", "")):
            return remember_token(RedirectResponse(scope["path"], 303), self.token)
        return refusal(
            request,
            401,
            "this server requires a token",
            "send the header Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )

    @staticmethod
    def from_another_site(request: Request) -> bool:
        """Whether another site's page sent a request that could change data."""
        origin = request.headers.get("origin")
        if request.method in ("GET", "HEAD") or origin is None:
            return False
        return urlsplit(origin).netloc != request.headers.get("host")

    def _matches(self, given: str) -> bool:
        return same_token(given, self.token or "")


def same_token(given: str, token: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


def remember_token(response: Response, token: str) -> Response:
    """Store the token in a cookie that scripts cannot read."""
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", max_age=30 * 86400)
    return response


def _bearer(headers: Headers) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _cookie(headers: Headers) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""
