"""The lessons as notebooks, made from their pages, whose code is that of the scripts beside them.

python scripts/lessons.py DIR
"""

import json
import re
import sys
from pathlib import Path

LESSONS = Path(__file__).parents[1] / "docs" / "lessons"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OUTPUT = re.compile(r"^```text\n.*?^```\n", re.DOTALL | re.MULTILINE)
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def pages() -> list[Path]:
    """The pages of every lesson in both languages."""
    return sorted(LESSONS.glob("[0-9]-*.md"))


def script_of(page: Path) -> Path:
    """The script whose code a page shows: 1-convolutions.ko.md shows convolutions.py."""
    return LESSONS / f"{page.name.split('-', 1)[1].split('.')[0]}.py"


def cells(script: Path) -> list[str]:
    """The parts of a script, which lines of `# %%` divide."""
    parts = re.split(r"^# %%\n", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [part.strip() for part in parts if part.strip()]


def code_of(page: Path) -> list[str]:
    """The code blocks of a page in order."""
    return [code.strip() for code in BLOCK.findall(page.read_text(encoding="utf-8"))]


def notebook(page: Path) -> dict:
    """The page as a notebook without outputs: its words and its code in turns."""
    text = OUTPUT.sub("", page.read_text(encoding="utf-8"))
    made = []
    for number, part in enumerate(BLOCK.split(text)):
        if not part.strip():
            continue
        cell = {"id": f"cell-{number}", "metadata": {}, "source": part.strip()}
        if number % 2:
            made.append({"cell_type": "code", "execution_count": None, "outputs": [], **cell})
        else:
            made.append({"cell_type": "markdown", **cell})
    return {"cells": made, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Write every page's notebook into the folder that is named."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for page in pages():
        file = out / page.with_suffix(".ipynb").name
        file.write_text(json.dumps(notebook(page), ensure_ascii=False, indent=1), encoding="utf-8")
        sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main()
