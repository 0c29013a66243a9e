"""Optional parts: the packages that an extra of the installation brings."""

from __future__ import annotations

import importlib.util

from eyesight.errors import UserError

EXTRAS = {
    "serve": ("fastapi", "uvicorn", "httptools"),
    "ray": ("ray",),
}


def require(extra: str, purpose: str) -> None:
    """Raise UserError with the command to run when a package of the `extra` is not installed."""
    missing = [name for name in EXTRAS[extra] if not _is_installed(name)]
    if missing:
        raise UserError(
            f"{purpose} needs {' and '.join(missing)}, which is not installed",
            f"python -m pip install 'eyesight[{extra}]'",
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
