"""An application at an address of this machine, and a page of it as people look at it."""

import threading
from contextlib import contextmanager

import uvicorn

from eyesight.web import server

LOOKS = [(1280, 900, "en", "light"), (360, 740, "ko", "dark")]
NAMES = ["desktop", "phone"]


@contextmanager
def served(app, **options):
    """The address of an application while the block runs."""
    sock = server.listen("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", **options))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [sock]})
    thread.start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    running.should_exit = True
    thread.join(20)
    sock.close()
