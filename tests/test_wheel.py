"""The wheel: built, installed into an empty environment, trained and predicted with."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import drawn
import pytest

ROOT = Path(__file__).parents[1]
# In the new environment these are not installed, whatever the present one holds.
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"fastapi", "uvicorn", "httptools", "ray"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""


def run(*command, **options):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True,
        env={**environment, "OMP_NUM_THREADS": "1"}, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment with nothing but the wheel, which sees the libraries of the present one."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "eyesight", source / "eyesight", ignore=ignored)
    built = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index",
        "--wheel-dir", folder, source,
    )  # fmt: skip
    if "No module named" in built.stderr and "setuptools" in built.stderr:
        pytest.skip("setuptools is not installed here")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    place = folder / "environment"
    assert run(sys.executable, "-m", "venv", "--without-pip", place).returncode == 0
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    installed = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel
    )
    assert installed.returncode == 0, installed.stderr
    packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    )
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "sitecustomize.py").write_text(HIDE)
    return python, packages


@pytest.mark.whole
def test_an_installed_wheel_trains_reports_and_predicts(environment, tmp_path):
    python, packages = environment
    where = run(python, "-c", "import eyesight; print(eyesight.__file__)", cwd=tmp_path).stdout
    assert Path(where.strip()).parent == packages / "eyesight"
    assert (packages / "eyesight" / "py.typed").is_file()
    for folder in ("data", "views", "web", "report", "comparison"):
        names = {path.relative_to(ROOT) for path in (ROOT / "eyesight" / folder).rglob("*.*")}
        missing = [
            name for name in names
            if name.suffix not in (".py", ".pyc") and not (packages / name).is_file()
        ]  # fmt: skip
        assert missing == []
    drawn.folder(tmp_path / "photos", 90)
    program = python.parent / "eyesight"
    trained = run(
        program, "train", "digits", "--data", "photos", "--set", "training.epochs=2", "--out", "runs",
        cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    (report,) = (tmp_path / "runs").glob("*/report.html")
    predicted = run(program, "predict", report.parent, "photos/ring", cwd=tmp_path)
    assert predicted.returncode == 0 and predicted.stdout.count("\n") == 31, predicted.stderr


@pytest.mark.whole
def test_what_an_extra_lacks_is_one_line_with_the_command(environment, tmp_path):
    python, _ = environment
    program = python.parent / "eyesight"
    for command, extra in (
        (["serve"], "serve"),
        (["compare", "lenet5", "--on", "ray"], "ray"),
    ):
        refused = run(program, *command, cwd=tmp_path)
        assert refused.returncode == 1
        assert f"pip install 'eyesight[{extra}]'" in refused.stderr
        assert "Traceback" not in refused.stderr and refused.stderr.count("\n") <= 3
