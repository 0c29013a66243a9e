"""Connections that only wait keep nobody out: headers have a time limit, addresses a number."""

import http.client
import json
import socket
import threading
import time

import pytest
import uvicorn
from portables import by_brightness

from eyesight.inference import onnx_classifier
from eyesight.web import connections
from eyesight.web.application import application


@pytest.fixture
def port(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(connections, "PER_ADDRESS", 20)
    monkeypatch.setattr(connections, "CONNECTIONS", 40)
    app = application(onnx_classifier.load(by_brightness(tmp_path / "it.onnx")))
    config = uvicorn.Config(
        app, log_level="critical", http=connections.LimitedConnection, ws="none"
    )
    server = uvicorn.Server(config)
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    yield sock.getsockname()[1]
    server.should_exit = True
    thread.join(5)
    sock.close()


def health(port, address="127.0.0.1"):
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=10, source_address=(address, 0)
    )
    try:
        connection.request("GET", "/api/health")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def unfinished(port, address, number):
    """Connections whose headers never end."""
    opened = []
    for _ in range(number):
        one = socket.create_connection(("127.0.0.1", port), 10, source_address=(address, 0))
        one.sendall(b"GET / HTTP/1.1\r\nHost: localh")
        opened.append(one)
    return opened


def answer(one):
    data = b""
    with one:
        while part := one.recv(1000):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_headers_that_do_not_end_are_given_up_with_the_error_of_every_refusal(port):
    (one,) = unfinished(port, "127.0.0.1", 1)
    status, body = answer(one)
    assert status == 408 and set(body) == {"error", "hint"}


def test_one_address_cannot_take_every_connection(port):
    waiting = unfinished(port, "127.0.0.2", 30)
    assert health(port)[0] == 200, "others are answered meanwhile"
    statuses = [answer(one)[0] for one in waiting]
    assert statuses.count(408) == 20 and statuses.count(503) == 10


def test_everybody_is_answered_again_once_idle_connections_have_ended(port):
    waiting = [one for last in range(2, 6) for one in unfinished(port, f"127.0.0.{last}", 15)]
    statuses = [answer(one)[0] for one in waiting]
    assert statuses.count(408) == 40 and statuses.count(503) == 20
    assert health(port)[0] == 200


def test_empty_lines_between_requests_do_not_keep_a_connection(port):
    one = socket.create_connection(("127.0.0.1", port), 10)
    one.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert one.recv(1000).startswith(b"HTTP/1.1 200")
    one.sendall(b"\r\n")
    began = time.monotonic()
    assert answer(one)[0] == 408 and time.monotonic() - began < 4


def test_bytes_that_are_no_request_get_the_error_as_json(port):
    one = socket.create_connection(("127.0.0.1", port), 10)
    one.sendall(b"\x16\x03\x01\x02\r\n\r\n")
    status, body = answer(one)
    assert status == 400 and set(body) == {"error", "hint"}
