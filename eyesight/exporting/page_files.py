"""A classifier's web page put together: one HTML file, or a folder of a few files.

Everything that runs is in the page or beside it, and a content security policy lets nothing else
run and nothing be fetched.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eyesight.exporting.runtime import Runtime

PAGE = Path(__file__).parent / "page"
SCRIPTS = (
    "bytes",
    "orientation",
    "png",
    "decode",
    "prepare",
    "network",
    "answer",
    "camera",
    "page",
)
LANGUAGES = ("en", "ko")
NAMES = ("index.html", "page.css", "runtime.js", "model.js", "page.js")  # of a folder
ELSEWHERE = '"https://runtime.invalid/"'  # for the runtime's own address: nothing is fetched there
RUNTIME_NOTE = """/*! ONNX Runtime Web, changed only in how it names itself and what it exports. */
"""
EXPORTS = re.compile(r"export\{([^}]*)\};?\s*(?://# sourceMappingURL=.*)?\s*$")


@dataclass(frozen=True)
class Parts:
    """What a page is made of: the network's bytes, the runtime, and facts as plain JSON values."""

    model: bytes
    runtime: Runtime
    facts: Mapping[str, object]


def one_file(parts: Parts) -> bytes:
    """The page as one HTML file."""
    scripts = [_runtime_script(parts.runtime), _data("wasm", _wasm(parts.runtime.wasm))]
    scripts += [_data("model", _packed(parts.model)), _facts_script(parts), _own_scripts()]
    tags = [f'<script type="module">{scripts[0]}</script>']
    tags += [f"<script>{text}</script>" for text in scripts[1:-1]]
    tags.append(f'<script type="module">{scripts[-1]}</script>')
    sources = " ".join(_source(text) for text in scripts)
    style = _style()
    return _document(parts, f"<style>{style}</style>", tags, sources, _source(style))


def folder(parts: Parts) -> dict[str, bytes]:
    """The page as files by name; `index.html` is the one to open."""
    script = _runtime_script(parts.runtime)
    own = f"addEventListener('load', () => {{\n{_own_scripts()}\n}});\n"
    tags = [f'<script type="module">{script}</script>']
    tags += [f'<script src="{name}.js"></script>' for name in ("runtime", "model", "page")]
    link = '<link rel="stylesheet" href="page.css">'
    sources = f"'self' {_source(script)}"
    return {
        "index.html": _document(parts, link, tags, sources, "'self'"),
        "page.css": _style().encode(),
        "runtime.js": _data("wasm", _wasm(parts.runtime.wasm)).encode(),
        "model.js": (_data("model", _packed(parts.model)) + _facts_script(parts)).encode(),
        "page.js": own.encode(),
    }


def _document(parts: Parts, style: str, tags: list[str], scripts: str, styles: str) -> bytes:
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts} 'wasm-unsafe-eval'",
            f"style-src {styles}",
            "img-src data: blob:",
            "media-src blob: mediastream:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    text = (PAGE / "page.html").read_text(encoding="utf-8")
    values = {
        "TITLE": html.escape(str(parts.facts["name"])),
        "POLICY": html.escape(policy),
        "LICENCES": _licences(),
        "STYLE": style,
        "SCRIPTS": "\n".join(tags),
    }
    for name, value in values.items():
        text = text.replace(f"<!-- {name} -->", value)
    return text.encode(errors="replace")


def _style() -> str:
    return (PAGE / "page.css").read_text(encoding="utf-8")


def _licences() -> str:
    return f"<!--\n{(PAGE / 'licences.txt').read_text(encoding='utf-8')}-->"


def _own_scripts() -> str:
    return "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)


def _runtime_script(runtime: Runtime) -> str:
    """The runtime as a module's text that leaves its exports in a global name.

    A page that was opened from a disk may not import a file beside it.
    """
    text = runtime.script.read_text(encoding="utf-8").replace("import.meta.url", ELSEWHERE)
    match = EXPORTS.search(text)
    assert match is not None
    members = []
    for item in match[1].split(","):
        inner, _, outer = item.partition(" as ")
        members.append(f"{json.dumps(outer or inner)}:{inner}")
    return (
        RUNTIME_NOTE + text[: match.start()] + f"globalThis.eyesightRuntime={{{','.join(members)}}}"
    )


def _facts_script(parts: Parts) -> str:
    texts = {}
    for language in LANGUAGES:
        texts[language] = json.loads((PAGE / f"{language}.json").read_text(encoding="utf-8"))
    return _data("facts", dict(parts.facts)) + _data("texts", texts)


def _data(name: str, value: object) -> str:
    """A script that leaves a value where the page's own script looks for it."""
    text = json.dumps(value, allow_nan=False).replace("<", "\\u003c")
    return f"(globalThis.eyesightParts ??= {{}}).{name} = {text};\n"


@cache
def _wasm(file: Path) -> str:
    return _packed(file.read_bytes())


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _source(text: str) -> str:
    """The script's or style's hash, as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
