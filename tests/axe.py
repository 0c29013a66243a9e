"""axe-core on an open page: what people with a screen reader, a keyboard or weak eyes cannot use."""

import os
from pathlib import Path

RUN = """
axe.run().then(result => result.violations.map(
  one => one.id + ': ' + one.nodes.map(node => node.html.slice(0, 120)).join(' | ')
))
"""


def check_with_axe(page):
    """No findings by axe-core, where EYESIGHT_AXE names its script; nothing is checked elsewhere."""
    script = os.environ.get("EYESIGHT_AXE")
    if script is None:
        return
    session = page.context.new_cdp_session(page)  # which a page's own policy does not refuse
    session.send("Runtime.evaluate", {"expression": Path(script).read_text(encoding="utf-8")})
    result = session.send(
        "Runtime.evaluate", {"expression": RUN, "awaitPromise": True, "returnByValue": True}
    )
    findings = result["result"]["value"]
    assert findings == [], f"{page.url}: {findings}"
