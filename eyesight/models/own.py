"""User networks by importable name: `my_net.py:MyNet` or `package.module:MyNet`.

A run stores the name, the options and the SHA-256 of the source file, but not the code. Using such
a name executes its file. This module imports no PyTorch.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from eyesight.errors import UserError, unknown
from eyesight.recipe import Model, absolute, is_own
from eyesight.system.digest import sha256
from eyesight.system.json_value import parse_json

if TYPE_CHECKING:
    from torch import nn

Factory: TypeAlias = "Callable[..., nn.Module]"
NetworkSource: TypeAlias = "str | Factory"
HOW = "save it in a file such as my_net.py and use my_net.py:MyNet"
CALL = "it must be callable as MyNet(channels, classes, **options)"


@dataclass(frozen=True)
class Code:
    """A function or class that creates networks, and its source file."""

    make: Factory
    file: Path
    sha256: str


def name_of(model: NetworkSource) -> str:
    """The importable name of `model`.

    Raises UserError for an instance, and for objects that other processes cannot import: from a
    notebook or the running script, lambdas, nested functions.
    """
    if isinstance(model, str):
        if not is_own(model):
            raise UserError(f"{model!r} does not name a network in a file", HOW)
        return absolute(model)
    if hasattr(model, "parameters") and not isinstance(model, type):
        kind = type(model).__name__
        raise UserError(
            f"model is an instance of {kind}, but a run stores how to create a network",
            f"pass the class, model={kind}, and its arguments as options={{...}}",
        )
    if not callable(model):
        raise UserError(f"model is a {type(model).__name__}, not a class or function", HOW)
    return _name_of_callable(model)


def _name_of_callable(model: Factory) -> str:
    module, name = model.__module__, model.__qualname__
    if module == "__main__":
        raise UserError(
            f"{name} is defined in the running script or notebook, so other processes cannot "
            "import it",
            f"{HOW}, or import it from there",
        )
    if "<" in name:
        raise UserError(
            f"{name} is defined inside a function, so other processes cannot import it",
            "move it to the top level of a file",
        )
    file = inspect.getsourcefile(model)
    if file is None:
        raise UserError(f"{module}.{name} has no source file", HOW)
    if "." in module:
        return f"{module}:{name}"
    return f"{Path(file).absolute()}:{name}"


def find(name: str, sha256: str | None = None) -> Code:
    """Import the class or function called `name`; this executes its file.

    A missing file is also searched in the working directory. With `sha256`, the file must be
    unchanged since training. Raises UserError if the code is missing, fails or has changed.
    """
    place, _, attribute = name.rpartition(":")
    if place.endswith(".py"):
        file = _file(Path(place), name)
        module = _run_file(file)
    else:
        module = _import(place, name)
        file = Path(inspect.getsourcefile(module) or "")
    digest = _digest(file)
    if sha256 is not None and digest != sha256:
        raise UserError(
            f"the code of the network {name} has changed since it was trained",
            f"restore {file}, or train again",
        )
    made: object = module
    for part in attribute.split("."):
        if not hasattr(made, part):
            raise unknown(f"name in {file}", attribute, _callables(module))
        made = getattr(made, part)
    if not callable(made):
        raise UserError(f"{name} is a {type(made).__name__}, not a class or function", CALL)
    return Code(made, file, digest)


def fingerprint(name: str) -> str:
    """The SHA-256 of a network's source file, without executing it; "" if it is missing."""
    place, _, _ = name.rpartition(":")
    if place.endswith(".py"):
        path = Path(place).expanduser()
        candidates = [path, Path.cwd() / path.name]
    else:
        with _importable(Path.cwd()):
            try:
                spec = importlib.util.find_spec(place)
            except (ImportError, ValueError):
                return ""
        if spec is None or spec.origin is None:
            return ""
        candidates = [Path(spec.origin)]
    for candidate in candidates:
        if candidate.is_file():
            return _digest(candidate)
    return ""


def is_same_code(name: str, environment: Mapping[str, object]) -> bool:
    """Whether a run with this environment was trained with the present code."""
    return not is_own(name) or environment.get("code") == fingerprint(name)


def _file(path: Path, name: str) -> Path:
    for candidate in (path.expanduser(), Path.cwd() / path.name):
        if candidate.is_file():
            return candidate
    raise UserError(
        f"the code of the network {name} is missing: no file {path}",
        f"put {path.name} back, or into the working directory",
    )


def _digest(file: Path) -> str:
    return sha256(file.read_bytes())


def _run_file(file: Path) -> ModuleType:
    """The module of a file, executed once per content."""
    title = f"eyesight_own_{_digest(file)[:16]}_{file.stem}"
    if title in sys.modules:
        return sys.modules[title]
    spec = importlib.util.spec_from_file_location(title, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is not a Python file", HOW)
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module
    try:
        with _importable(file.absolute().parent):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[title]
        raise UserError(
            f"{file} cannot be executed: {_reason(error)}", "correct the file"
        ) from error
    return module


def _import(place: str, name: str) -> ModuleType:
    try:
        with _importable(Path.cwd()):
            return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the code of the network {name} is missing: {error}",
            f"install the package that contains {place}, or use a file: my_net.py:MyNet",
        ) from None
    except Exception as error:
        raise UserError(f"{place} cannot be imported: {_reason(error)}", "mend it") from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Context manager: allow imports of modules beside a file or in the working directory."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _callables(module: ModuleType) -> list[str]:
    names = []
    for name, value in vars(module).items():
        if callable(value) and getattr(value, "__module__", "") == module.__name__:
            names.append(name)
    return names


def options_of(model: Model) -> dict[str, object]:
    """The keyword arguments of a user's network: fields that are set, and `options`.

    Raises UserError for an option that is not written as name=value.
    """
    options: dict[str, object] = {}
    for field in ("width", "depth", "dropout", "activation", "normalise"):
        value = getattr(model, field)
        if value is not None:
            options[field] = value
    for text in model.options:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(
                f"cannot read the option {text!r}", "--set model.options=hidden=64,act=relu", code=2
            )
        options[name.strip()] = _value(value)
    return options


def _value(text: str) -> object:
    for word, value in (("none", None), ("true", True), ("false", False)):
        if text.lower() == word:
            return value
    try:
        return parse_json(text)
    except ValueError:
        return text


def call(code: Code, name: str, channels: int, classes: int, options: dict[str, object]) -> object:
    """Call the class or function; raises UserError if it does not accept the arguments."""
    try:
        inspect.signature(code.make).bind(channels, classes, **options)
    except TypeError as error:
        raise UserError(f"{name} cannot be called: {error}", CALL) from None
    except ValueError:  # some callables of C have no signature
        pass
    try:
        return code.make(channels, classes, **options)
    except Exception as error:
        arguments = f"channels={channels}, classes={classes}"
        raise UserError(
            f"{name} fails with {arguments}: {_reason(error)}", f"mend {code.file}"
        ) from error
