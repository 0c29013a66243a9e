"""Which ink makes which digit: ways to merge and split the marks of a row, judged by a network.

A row is cut into atoms from left to right. A span is a run of atoms that may be one digit. The best
chain of spans is found by dynamic programming, also for a given number of digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eyesight.data.prepare import Pixels
from eyesight.reader.absorption import Mask
from eyesight.reader.marks import EVERYWHERE, Box, Labels, Mark
from eyesight.reader.mnist_digit import Strength, fitted
from eyesight.reader.strip import DIGIT_HEIGHT, Strip

Probabilities = NDArray[np.float32]  # 10, or N,10: of the digits 0 to 9
Classify = Callable[[Pixels], Probabilities]  # uint8 N,28,28 to N,10
MOST_ATOMS = 60
MOST_JOINED = 5  # atoms of one digit
MOST_DIGITS = 40
WIDEST, HIGHEST = 1.7, 1.7  # of a span, in usual heights
FAR = 0.3  # usual heights between two atoms that cannot be one digit
TOO_FEW, TOO_MANY = 2.5, 8.0  # what each digit costs that is missing or not expected
INSIDE = 2.0  # what it costs more to leave out a mark as high as a digit between two digits


@dataclass(frozen=True)
class Atom(Box):
    """A mark or a piece of one; `cut` is how thick the ink at its left was, -1 for a whole mark."""

    label: int
    darkness: float
    cut: float = -1.0


@dataclass(frozen=True, eq=False)
class Span:
    """Atoms from `start` to `stop` taken for one digit, as the network sees and judges them.

    `strength` is H,W from 0 to 1, `pixels` uint8 28,28 and `probabilities` 10.
    """

    start: int
    stop: int
    box: Box
    darkness: float
    strength: Strength
    pixels: Pixels
    probabilities: Probabilities
    score: float


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The best chain of spans, atoms that it leaves out, and its score: 0 could not be better."""

    spans: list[Span]
    left_out: list[Atom]
    score: float


def segment(
    marks: list[Mark], labels: Labels, strip: Strip, classify: Classify, digits: int | None
) -> Segmentation | None:
    """The best way to read the marks of a row; with `digits` as that many where it is possible."""
    usual = usual_height(marks)
    atoms = [atom for mark in marks for atom in split(mark, labels)]
    atoms = sorted(atoms, key=lambda atom: atom.x)[:MOST_ATOMS]
    places = possible_spans(atoms, usual)
    if not places:
        return None
    strengths = []
    for start, stop, box in places:
        own, place = own_ink(atoms[start:stop], box, labels)
        darkness = max(atom.darkness for atom in atoms[start:stop])
        strengths.append(pen_strength(own, strip.absorbed[place], darkness))
    pixels = [prepared(strength) for strength in strengths]
    rows = classify(np.array(pixels))
    spans = []
    for number, (start, stop, box) in enumerate(places):
        parts = atoms[start:stop]
        score = span_score(rows[number], box, parts, usual)
        darkness = max(atom.darkness for atom in parts)
        seen = strengths[number], pixels[number], rows[number]
        spans.append(Span(start, stop, box, darkness, *seen, score=score))
    return best_chain(atoms, spans, usual, digits)


def usual_height(marks: list[Mark]) -> float:
    """The height of the row's digits in pixels of the strip."""
    heights = [mark.height for mark in marks if mark.height > 0.5 * DIGIT_HEIGHT]
    return float(np.median(heights or [DIGIT_HEIGHT]))


def split(mark: Mark, labels: Labels) -> list[Atom]:
    """A wide mark cut where its ink is thinnest, in more pieces than it can have digits."""
    whole = Atom(
        mark.left, mark.top, mark.right, mark.bottom, label=mark.label, darkness=mark.darkness
    )
    if mark.width < 0.72 * DIGIT_HEIGHT and mark.width < 0.95 * mark.height:
        return [whole]
    top, left = int(mark.top), int(mark.left)
    part = labels[top : int(mark.bottom), left : int(mark.right)] == mark.label
    thickness = ndimage.uniform_filter1d(part.sum(axis=0).astype(float), 3)
    atoms = []
    for start, stop in pairwise([0, *cut_columns(thickness), part.shape[1]]):
        rows = np.flatnonzero(part[:, start:stop].any(axis=1))
        if not len(rows):
            continue
        cut = -1.0
        if start:
            cut = float(thickness[start])
        box = (left + start, top + int(rows[0]), left + stop, top + int(rows[-1]) + 1)
        atoms.append(Atom(*box, label=mark.label, darkness=mark.darkness, cut=cut))
    return atoms


def cut_columns(thickness: NDArray[np.float64]) -> list[int]:
    """Columns where a mark may be cut, the thinnest ones that are not close to each other."""
    most = min(max(2, round(len(thickness) / (0.55 * DIGIT_HEIGHT))) + 1, 6)
    margin = 0.18 * DIGIT_HEIGHT
    cuts: list[int] = []
    for column in np.argsort(thickness, kind="stable").tolist():
        if not margin < column < len(thickness) - margin:
            continue
        if all(abs(column - cut) > 0.25 * DIGIT_HEIGHT for cut in cuts):
            cuts.append(column)
        if len(cuts) == most:
            break
    return sorted(cuts)


def possible_spans(atoms: list[Atom], usual: float) -> list[tuple[int, int, Box]]:
    """Start, stop and box of every run of atoms that has the size of a digit."""
    spans = []
    for start in range(len(atoms)):
        box: Box = atoms[start]
        for stop in range(start + 1, min(len(atoms), start + MOST_JOINED) + 1):
            added = atoms[stop - 1]
            if stop > start + 1 and added.left - box.right > FAR * usual:
                break
            box = box.union(added)
            if box.width > WIDEST * usual or box.height > HIGHEST * usual:
                break
            if box.height >= 0.35 * usual:
                spans.append((start, stop, box))
    return spans


def own_ink(atoms: list[Atom], box: Box, labels: Labels) -> tuple[Mask, tuple[slice, slice]]:
    """The ink of these atoms alone, and where in the strip it lies."""
    top, left = max(0, int(box.top) - 2), max(0, int(box.left) - 2)
    place = slice(top, int(box.bottom) + 2), slice(left, int(box.right) + 2)
    around = labels[place]
    own = np.zeros(around.shape, dtype=bool)
    for atom in atoms:
        columns = slice(int(atom.left) - left, int(atom.right) - left)
        own[:, columns] |= around[:, columns] == atom.label
    return own, place


def pen_strength(own: Mask, absorbed: NDArray[np.float64], darkness: float) -> Strength:
    """Ink H,W as 0 to 1 of its own pen, a pale one as strong as a dark one."""
    alone = np.where(ndimage.binary_dilation(own, EVERYWHERE), absorbed / darkness, 0.0)
    return np.clip(alone, 0, 1)


def prepared(strength: Strength, paper: float = 0.15, pen: float = 0.85) -> Pixels:
    """Ink as uint8 28,28 in MNIST's normalisation; the edge lies between `paper` and `pen`."""
    strength = strength / max(float(strength.max()), 1e-6)
    return fitted(np.clip((strength - paper) / (pen - paper), 0, 1))


def span_score(row: Probabilities, box: Box, atoms: list[Atom], usual: float) -> float:
    """Log probability of the best class, less what speaks against one digit of that shape."""
    score = float(np.log(max(row.max(), 1e-3)))
    height = box.height / usual
    score -= 10 * max(0.0, 0.72 - height) + 3 * max(0.0, height - 1.4)
    score -= 2 * max(0.0, box.width / box.height - 1.15)
    for one, other in pairwise(atoms):
        if one.label == other.label:
            continue
        across = max(one.left, other.left) - min(one.right, other.right)
        down = max(one.top, other.top) - min(one.bottom, other.bottom)
        score -= 0.25 + max(0.0, 5 * across / usual) + max(0.0, 2 * down / usual)
    return score


def cost_of_leaving_out(atoms: list[Atom], usual: float) -> list[float]:
    """What it costs to take each atom for no part of a digit: little for what is small or pale."""
    darkness = np.quantile([atom.darkness for atom in atoms], 0.7)
    costs = []
    for atom in atoms:
        size = min(1.0, max(atom.height, atom.width) / usual)
        costs.append((0.3 + 5.5 * size**2) * min(1.0, atom.darkness / darkness))
    return costs


def cost_of_cut(atoms: list[Atom], start: int, usual: float) -> float:
    """What it costs that a digit begins in the middle of a mark."""
    if start == 0 or atoms[start].cut < 0 or atoms[start - 1].label != atoms[start].label:
        return 0.0
    return 1.2 + 8 * atoms[start].cut / usual


def cost_of_number(count: int, digits: int | None) -> float:
    """What it costs that another number of digits was expected."""
    if digits is None:
        return 0.0
    return max(TOO_FEW * (digits - count), TOO_MANY * (count - digits))


State = tuple[int, int]  # atoms used, digits made
Best = dict[State, tuple[float, Span | None]]  # the score, and the span that ends there


def best_chain(
    atoms: list[Atom], spans: list[Span], usual: float, digits: int | None
) -> Segmentation | None:
    """The best chain by dynamic programming over (atoms used, digits made)."""
    skipping = cost_of_leaving_out(atoms, usual)
    most = MOST_DIGITS if digits is None else digits + 2
    best: Best = {(0, 0): (0.0, None)}
    for stop in range(1, len(atoms) + 1):
        ending = [span for span in spans if span.stop == stop]
        cuts = [cost_of_cut(atoms, span.start, usual) for span in ending]
        for count in range(most + 1):
            cost = skipping[stop - 1]
            if digits is not None and 0 < count < digits:
                cost += INSIDE * min(1.0, atoms[stop - 1].height / usual)
            ways: list[tuple[State, float, Span | None]] = [((stop - 1, count), -cost, None)]
            for span, cut in zip(ending, cuts, strict=True):
                ways.append(((span.start, count - 1), span.score - cut, span))
            options = [(best[way[0]][0] + way[1], way[2]) for way in ways if way[0] in best]
            if options:
                best[stop, count] = max(options, key=lambda option: option[0])
    return traced(atoms, best, digits)


def traced(
    atoms: list[Atom],
    best: Best,
    digits: int | None,
) -> Segmentation | None:
    """The chain that ends best, followed back to its beginning."""
    ends = {}
    for (stop, count), (score, _) in best.items():
        if stop != len(atoms) or count == 0:
            continue
        ends[count] = score - cost_of_number(count, digits)
    if not ends:
        return None
    count = max(ends, key=lambda number: ends[number])
    score = ends[count]
    chain: list[Span] = []
    left_out: list[Atom] = []
    stop = len(atoms)
    while stop:
        span = best[stop, count][1]
        if span is None:
            stop -= 1
            left_out.append(atoms[stop])
        else:
            chain.append(span)
            stop, count = span.start, count - 1
    return Segmentation(chain[::-1], left_out[::-1], score)
