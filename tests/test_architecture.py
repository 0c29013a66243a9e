"""The house rules that a reader relies on: imports point down, each library has one home, importing is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "eyesight"
HOMES = {
    "PIL": {
        "data/decode.py", "data/prepare.py", "data/glyphs/render.py", "data/masks/pairs.py", "inference/annotate.py",
    },
    "matplotlib": {"report", "comparison/plots.py"},
    "skimage": {"results/similarity.py"},
    "sklearn": {"results/metrics.py", "data/named.py"},
    "scipy": {"comparison/statistics.py", "data/formats/stanford_dogs.py", "reader"},
    "safetensors": {"classifier.py", "training/checkpoint.py"},
    "typer": {"cli"},
    "ray": {"cluster"},
    "rich": {"cli/console.py"},
    "timm": {"models/pretrained.py"},
    "onnx": {"exporting"},
    "onnxruntime": {"inference/onnx_classifier.py", "exporting/quantise.py"},
    "fastapi": {"web"},
    "uvicorn": {"web"},
    "jinja2": {"report/html.py", "web"},
}  # fmt: skip
WITHOUT_TORCH = (
    "recipe", "errors", "recipes", "runs", "results.predictions", "results.scores", "results.reconstructions",
    "results.segmentations", "results.metrics", "results.threshold", "report.report", "report.plots", "report.galleries",
    "comparison.compare", "distributed.child", "inference.predict", "inference.dense", "inference.bulk",
    "inference.onnx_classifier", "inference.annotate", "cluster.packing", "cluster.ray_cluster", "system.environment",
    "system.files", "cli.console", "reader.mnist_digit", "reader.postcode", "data.masks.pairs", "data.masks.legend",
    "data.masks.scan", "data.loading", "data.sources", "data.named", "data.prepare", "data.scan", "data.split",
    "data.store", "data.glyphs.glyphs", "data.archives", "data.formats.folders", "data.formats.csv_table", "data.source",
)  # fmt: skip


def files():
    return sorted(PACKAGE.rglob("*.py"))


def imports(path, *, at_import=False):
    """Modules that a file imports; with `at_import` only those at module level and outside TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(tree.body if at_import else ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def home(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def test_each_library_has_one_home():
    for path in files():
        place = path.relative_to(PACKAGE).as_posix()
        for name in imports(path):
            homes = HOMES.get(name.split(".")[0])
            if homes is not None:
                assert place in homes or home(path) in homes, f"{place} imports {name}, whose home is {homes}"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_what_works_without_torch_does_not_import_it():
    names = [f"eyesight.{name}" for name in WITHOUT_TORCH]
    assert run(f"import importlib, sys; [importlib.import_module(name) for name in {names}]; print('torch' in sys.modules)") == "False"


def test_importing_the_package_is_quick_and_the_public_names_exist():
    heavy = run("import sys, eyesight; print([name for name in ('torch', 'numpy', 'PIL', 'matplotlib') if name in sys.modules])")
    assert heavy == "[]"
    assert run("import eyesight; print(all(getattr(eyesight, name) is not None for name in eyesight.__all__))") == "True"


def test_help_needs_neither_torch_nor_numpy():
    code = "import sys; sys.argv = ['eyesight', '--help']\nfrom eyesight.cli import main\ntry: main.main()\nexcept SystemExit: pass\n"
    assert run(code + "print('torch' in sys.modules, 'numpy' in sys.modules)").endswith("False False")


HINTED = {"UserError": 1, "MissingError": 1, "DiskFullError": 1, "GoneError": 1, "Refused": 2}  # and at which place the hint stands
ELSEWHERE = {
    "data/glyphs/render.py",
    "data/archives.py",
}  # why a face is not used; what is wrong with an archive, whose name and hint are added


def test_every_error_for_people_says_how_to_mend_it():
    for path in files():
        if path.relative_to(PACKAGE).as_posix() in ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = HINTED.get(ast.unparse(node.func).rpartition(".")[2]) if isinstance(node, ast.Call) else None
            if place is None or any(isinstance(argument, ast.Starred) for argument in node.args):
                continue
            found = [*node.args[place : place + 1], *(keyword.value for keyword in node.keywords if keyword.arg == "hint")]
            said = found and not (isinstance(found[0], ast.Constant) and not found[0].value)
            assert said, f"{path.name}, line {node.lineno}: {ast.unparse(node)} has no hint"


def test_nothing_is_unpickled():
    for path in files():
        text = path.read_text(encoding="utf-8")
        assert not any(name.split(".")[0] in ("pickle", "dill", "joblib", "shelve") for name in imports(path)), path
        for part in text.split("torch.load(")[1:]:
            assert "weights_only=True" in part[:200], path.name
        assert "allow_pickle=True" not in text, path.name
