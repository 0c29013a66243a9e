"""Limits on connections: a time limit on request headers, and a number of connections per address.

uvicorn waits for headers without a limit, so a few hundred idle connections would block all others.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import ClassVar, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

CONNECTIONS = 512  # open at the same time
PER_ADDRESS = 256  # of these, from one address
LINGER = 0.3  # seconds between an error and closing the connection
# From the first byte of a request, or from the opening, to the end of its headers.
HEADER_SECONDS = 10.0


class LimitedConnection(HttpToolsProtocol):
    """One HTTP connection that is closed with a JSON error when it breaks a limit."""

    addresses: ClassVar[Counter[str]] = Counter()  # open connections of each address
    part: Literal["between", "headers", "body"] = "between"  # of a request, being read
    header_timer: asyncio.TimerHandle | None = None
    address = ""
    refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or reject it if there are too many."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.addresses[self.address] += 1
        if len(self.connections) > CONNECTIONS:
            self.refuse(503, "too many connections are open", "try again in a second")
        elif self.addresses[self.address] > PER_ADDRESS:
            self.refuse(
                503,
                f"more than {PER_ADDRESS} connections are open from your address",
                "close some of them",
            )
        else:
            self.await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.stop_timer()
        self.addresses[self.address] -= 1
        if not self.addresses[self.address]:
            del self.addresses[self.address]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; bytes between two requests have the time limit of headers too."""
        if self.refused:
            return
        super().data_received(data)
        idle = self.cycle is None or self.cycle.response_complete
        waiting = self.header_timer is not None or self.timeout_keep_alive_task is not None
        if self.part == "between" and idle and not waiting:
            self.await_headers()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.part = "headers"
        if self.header_timer is None:
            self.await_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        self.part = "body"
        self.stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self.part = "between"
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Reject bytes that are not an HTTP request."""
        self.refuse(400, msg, "this server speaks HTTP/1.1")

    def await_headers(self) -> None:
        """Start the time that a request's headers may take."""
        self.header_timer = self.loop.call_later(HEADER_SECONDS, self.headers_late)

    def headers_late(self) -> None:
        """Close a connection whose headers did not end in time."""
        self.refuse(
            408,
            f"the request headers took longer than {HEADER_SECONDS:g} seconds",
            "send the request again",
        )

    def stop_timer(self) -> None:
        """Headers have ended, or the connection has."""
        if self.header_timer is not None:
            self.header_timer.cancel()
            self.header_timer = None

    def refuse(self, status: int, error: str, hint: str) -> None:
        """Send the error as JSON and close the connection.

        Incoming bytes are discarded for a moment: closing a socket with unread bytes would reset
        the connection before the client reads the response.
        """
        self.stop_timer()
        if self.refused or self.transport.is_closing():
            return
        body = json.dumps({"error": error, "hint": hint}).encode()
        head = [
            STATUS_LINE[status],
            b"content-type: application/json\r\n",
            f"content-length: {len(body)}\r\n".encode(),
            b"connection: close\r\n\r\n",
        ]
        self.transport.write(b"".join([*head, body]))
        self.refused = True
        self.loop.call_later(LINGER, self.transport.close)
