"""QR codes (ISO/IEC 18004): text of up to 213 bytes as squares, at error correction level M."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eyesight.errors import UserError

Grid = list[list[bool]]
# Of versions 1 to 10 at level M: correction bytes of a block, and the data bytes of every block.
BLOCKS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (10, (16,)),
    (16, (28,)),
    (26, (44,)),
    (18, (32, 32)),
    (24, (43, 43)),
    (16, (27, 27, 27, 27)),
    (18, (31, 31, 31, 31)),
    (22, (38, 38, 39, 39)),
    (22, (36, 36, 36, 37, 37)),
    (26, (43, 43, 43, 43, 44)),
)
CENTRES: tuple[tuple[int, ...], ...] = (
    (),
    (6, 18),
    (6, 22),
    (6, 26),
    (6, 30),
    (6, 34),
    (6, 22, 38),
    (6, 24, 42),
    (6, 26, 46),
    (6, 28, 50),
)
QUIET = 4  # light squares around the code
FINDER = (True, False, True, True, True, False, True, False, False, False, False)


def encode(text: str) -> Grid:
    """The rows of the code, True for dark; raises UserError for a text that is too long."""
    data = text.encode()
    version = smallest_version(len(data))
    words = interleave(data_words(data, version), version)
    symbol = Symbol.blank(version)
    symbol.place(words)
    return min((symbol.masked(mask) for mask in range(8)), key=penalty)


def smallest_version(length: int) -> int:
    """The version, from 1, that holds so many bytes."""
    for version, (_, blocks) in enumerate(BLOCKS, 1):
        if length + (3 if version > 9 else 2) <= sum(blocks):
            return version
    raise UserError("the text is too long for a QR code", "use a shorter address")


def data_words(data: bytes, version: int) -> bytes:
    """Mode, length, data and padding."""
    capacity = sum(BLOCKS[version - 1][1])
    counted = 16 if version > 9 else 8
    bits = f"0100{len(data):0{counted}b}" + "".join(f"{byte:08b}" for byte in data)
    bits += "0" * min(4, 8 * capacity - len(bits))
    bits += "0" * (-len(bits) % 8)
    words = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))
    padding = bytes([0xEC, 0x11]) * capacity
    return (words + padding)[:capacity]


def interleave(words: bytes, version: int) -> bytes:
    """The data of all blocks byte by byte, then their correction bytes."""
    count, sizes = BLOCKS[version - 1]
    blocks = []
    start = 0
    for size in sizes:
        blocks.append(words[start : start + size])
        start += size
    corrections = [correction(block, count) for block in blocks]
    mixed = [block[place] for place in range(max(sizes)) for block in blocks if place < len(block)]
    mixed += [block[place] for place in range(count) for block in corrections]
    return bytes(mixed)


def times(one: int, other: int) -> int:
    """The product in GF(256) modulo x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    while other:
        if other & 1:
            product ^= one
        one <<= 1
        if one & 0x100:
            one ^= 0x11D
        other >>= 1
    return product


def correction(block: bytes, count: int) -> bytes:
    """The Reed-Solomon bytes of a block."""
    generator = [1]
    root = 1
    for _ in range(count):
        shifted = [*generator, 0]
        scaled = [0, *(times(value, root) for value in generator)]
        generator = [a ^ b for a, b in zip(shifted, scaled, strict=True)]
        root = times(root, 2)
    rest = [*block, *[0] * count]
    for place in range(len(block)):
        factor = rest[place]
        for offset, value in enumerate(generator):
            rest[place + offset] ^= times(value, factor)
    return bytes(rest[len(block) :])


def remainder(value: int, degree: int, polynomial: int) -> int:
    """The remainder of value·x^degree by a binary polynomial."""
    value <<= degree
    while value.bit_length() > degree:
        value ^= polynomial << (value.bit_length() - degree - 1)
    return value


@dataclass
class Symbol:
    """The squares of a code; `fixed` ones belong to patterns and are never masked."""

    version: int
    dark: Grid
    fixed: Grid

    @classmethod
    def blank(cls, version: int) -> Symbol:
        """A symbol with its patterns, without data."""
        size = 17 + 4 * version
        symbol = cls(version, *([[False] * size for _ in range(size)] for _ in range(2)))
        for place in range(size):
            symbol.put(6, place, place % 2 == 0)
            symbol.put(place, 6, place % 2 == 0)
        for y, x in ((0, 0), (0, size - 7), (size - 7, 0)):
            symbol.finder(y, x)
        symbol.alignments()
        symbol.put(size - 8, 8, dark=True)
        symbol.write_format(0)
        symbol.write_version()
        return symbol

    def put(self, y: int, x: int, dark: bool) -> None:
        """Set a square of a pattern; one outside is passed over."""
        if 0 <= y < len(self.dark) and 0 <= x < len(self.dark):
            self.dark[y][x] = dark
            self.fixed[y][x] = True

    def finder(self, top: int, left: int) -> None:
        """Draw a finder pattern and the light border around it."""
        for y in range(-1, 8):
            for x in range(-1, 8):
                ring = max(abs(y - 3), abs(x - 3))
                self.put(top + y, left + x, ring not in (2, 4))

    def alignments(self) -> None:
        """Draw the alignment patterns, except where finder patterns are."""
        centres = CENTRES[self.version - 1]
        if not centres:
            return
        first, last = centres[0], centres[-1]
        for y in centres:
            for x in centres:
                if (y, x) in ((first, first), (first, last), (last, first)):
                    continue
                for dy in range(-2, 3):
                    for dx in range(-2, 3):
                        self.put(y + dy, x + dx, max(abs(dy), abs(dx)) != 1)

    def write_format(self, mask: int) -> None:
        """Write level M and the mask, twice."""
        bits = (mask << 10 | remainder(mask, 10, 0x537)) ^ 0x5412
        size = len(self.dark)
        beside = [8, 8, 8, 8, 8, 8, 8, 8, 7, 5, 4, 3, 2, 1, 0]
        above = [0, 1, 2, 3, 4, 5, 7, 8, 8, 8, 8, 8, 8, 8, 8]
        for place in range(15):
            dark = bool(bits >> place & 1)
            self.put(above[place], beside[place], dark)
            if place < 8:
                self.put(8, size - 1 - place, dark)
            else:
                self.put(size - 15 + place, 8, dark)

    def write_version(self) -> None:
        """Write the version, twice, from version 7 on."""
        if self.version < 7:
            return
        bits = self.version << 12 | remainder(self.version, 12, 0x1F25)
        for place in range(18):
            dark = bool(bits >> place & 1)
            long, short = place // 3, len(self.dark) - 11 + place % 3
            self.put(long, short, dark)
            self.put(short, long, dark)

    def free(self) -> Iterator[tuple[int, int]]:
        """The squares for data, in their order: columns in pairs, up and down in turn."""
        size = len(self.dark)
        upward = True
        for right in [*range(size - 1, 6, -2), 5, 3, 1]:
            rows = range(size - 1, -1, -1) if upward else range(size)
            for y in rows:
                for x in (right, right - 1):
                    if not self.fixed[y][x]:
                        yield y, x
            upward = not upward

    def place(self, words: bytes) -> None:
        """Fill in the data."""
        bits = [bool(word >> place & 1) for word in words for place in range(7, -1, -1)]
        for (y, x), bit in zip(self.free(), bits, strict=False):
            self.dark[y][x] = bit

    def masked(self, mask: int) -> Grid:
        """The symbol with a mask over its data."""
        copy = Symbol(self.version, [row[:] for row in self.dark], [row[:] for row in self.fixed])
        for y, x in self.free():
            copy.dark[y][x] ^= flips(mask, y, x)
        copy.write_format(mask)
        return copy.dark


def flips(mask: int, y: int, x: int) -> bool:
    """Whether a mask turns the square at row y, column x."""
    product = y * x
    rules = (
        y + x,
        2 * (y % 2),
        x % 3,
        (y + x) % 3,
        2 * ((y // 2 + x // 3) % 2),
        product % 2 + product % 3,
        2 * ((product % 2 + product % 3) % 2),
        2 * (((y + x) % 2 + product % 3) % 2),
    )
    return rules[mask] % 2 == 0 if mask == 0 else rules[mask] == 0


def penalty(grid: Grid) -> int:
    """How hard a symbol is to read, by the four rules of the standard."""
    size = len(grid)
    lines: list[Sequence[bool]] = [*grid, *zip(*grid, strict=True)]
    total = sum(line_penalty(line) for line in lines)
    for y in range(size - 1):
        for x in range(size - 1):
            square = {grid[y][x], grid[y][x + 1], grid[y + 1][x], grid[y + 1][x + 1]}
            total += 3 * (len(square) == 1)
    share = sum(map(sum, grid)) / size**2
    return total + 10 * int(abs(20 * share - 10))


def line_penalty(line: Sequence[bool]) -> int:
    """The penalty of a row or column: long runs, and what looks like a finder pattern."""
    total = 0
    length = 0
    for place, dark in enumerate(line):
        length = length + 1 if place and dark == line[place - 1] else 1
        if length == 5:
            total += 3
        elif length > 5:
            total += 1
    for place in range(len(line) - len(FINDER) + 1):
        part = tuple(line[place : place + len(FINDER)])
        total += 40 * (part in (FINDER, FINDER[::-1]))
    return total


def svg(text: str) -> str:
    """The code as an SVG image, dark on white."""
    grid = encode(text)
    size = len(grid) + 2 * QUIET
    squares = []
    for y, row in enumerate(grid):
        for x, dark in enumerate(row):
            if dark:
                squares.append(f"M{x + QUIET} {y + QUIET}h1v1h-1z")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" '
        f'shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{size}v{size}h-{size}z"/>'
        f'<path d="{"".join(squares)}"/></svg>'
    )


def for_terminal(text: str) -> str:
    """The code as lines of half blocks, light on a dark terminal."""
    grid = encode(text)
    width = len(grid) + 4
    empty = [False] * width
    rows = [empty, empty, *([False, False, *row, False, False] for row in grid), empty, empty]
    if len(rows) % 2:
        rows.append(empty)
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        pairs = zip(upper, lower, strict=True)
        lines.append("".join("█▀▄ "[2 * above + below] for above, below in pairs))
    return "\n".join(lines)
