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
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(20)
        sock.close()


@contextmanager
def looked_at(browser, look):
    """A page of one of `LOOKS` while the block runs, which ends without an error of a script."""
    width, height, language, scheme = look
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale=language, color_scheme=scheme
    )
    opened = context.new_page()
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.kind = f"{language}_{scheme}"
    opened.language = language
    yield opened
    context.close()
    assert problems == []
