"""What an interrupted search keeps beside its trials, and whether it may go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eyesight.data.dataset import Dataset
from eyesight.errors import UserError, listed
from eyesight.recipe import Recipe, from_dict, to_dict
from eyesight.results.searching import SearchRecord
from eyesight.system.digest import value_sha256
from eyesight.system.files import whole_file

STATE = "state.json"
DECISION = "decision.json"


@dataclass(frozen=True)
class State:
    """The state of a search, kept after every trial."""

    seconds: float = 0.0  # that it took
    settings: tuple[str, ...] = ()  # options of the command line
    images: str = ""  # hash of their content, labels and split


def content_hash(images: Dataset) -> str:
    """The hash of the images' content, labels and split, however they are prepared."""
    store = images.store
    return value_sha256([images.hash, *store.classes, store.labels.tolist(), *store.digests])


def refuse_other_settings(out: Path, settings: Sequence[str]) -> None:
    """Raise UserError if an interrupted search in `out` has other settings than these."""
    for file in sorted(out.glob(f".search-*/{STATE}")):
        earlier = read_state(file.parent).settings
        if not earlier:
            continue
        changes = [f"without {one}" for one in settings if one not in earlier]
        changes += [f"with {one}" for one in earlier if one not in settings]
        raise UserError(
            f"the interrupted search in {out} has other settings: it was started "
            f"{listed(changes, len(changes))}",
            f"repeat its options: {' '.join(earlier)}; or leave out --resume to start a new search",
        )


def write_state(folder: Path, state: State) -> None:
    """Keep what a search needs to go on after an interruption."""
    write_json(folder / STATE, asdict(state))


def read_state(folder: Path) -> State:
    """The state of an interrupted search; an empty one for a new search."""
    try:
        values = json.loads((folder / STATE).read_bytes())
        seconds, settings = float(values["seconds"]), tuple(values["settings"])
        return State(seconds, settings, str(values["images"]))
    except (OSError, ValueError, KeyError, TypeError):
        return State()


def write_decision(folder: Path, recipe: Recipe, record: SearchRecord) -> None:
    """Keep the winner, so that its training goes on after an interruption whatever is left."""
    write_json(folder / DECISION, {"recipe": to_dict(recipe), "record": record.to_dict()})


def read_decision(folder: Path) -> tuple[Recipe, SearchRecord] | None:
    """The winner's recipe and what was tried; None where the search has not ended."""
    try:
        values = json.loads((folder / DECISION).read_bytes())
        return from_dict(values["recipe"]), SearchRecord.from_dict(values["record"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_json(file: Path, values: Mapping[str, object]) -> None:
    """Write a JSON object, whole or not at all."""
    with whole_file(file) as opened:
        opened.write(json.dumps(values).encode())
