"""The rules of the house: imports point down, each library has one home, importing is cheap."""

import ast
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import drawn
import pytest

PACKAGE = Path(__file__).parents[1] / "eyesight"
# The rooms, from the top floor to the ground: an import may only lead to a lower floor.
FLOORS = (
    ("__main__",),
    ("cli", "sklearn"),
    ("api", "ensemble", "searching", "web"),
    ("comparison", "diagnosis", "experiment", "report", "studio"),
    ("auditing", "cluster", "exporting", "training", "views"),
    ("distributed", "inference"),
    ("classifier",),
    ("reader", "runs", "tasks"),
    ("augment", "data", "models", "recipes", "results"),
    ("recipe", "system"),
    ("errors",),
)
HOMES = {
    "PIL": {
        "data/decode.py", "data/origin.py", "data/prepare.py", "data/glyphs/render.py", "data/masks/mask_file.py", "inference/annotate.py",
    },
    "matplotlib": {"report/report.py", "views", "comparison/plots.py"},
    "skimage": {"results/reconstructions.py"},
    "sklearn": {"sklearn.py", "data/named.py", "data/split.py"},
    "scipy": {
        "auditing/noise_share.py", "comparison/statistics.py", "results", "data/formats/stanford_dogs.py", "reader",
    },
    "safetensors": {"classifier.py", "system/tensors.py", "training/checkpoint.py"},
    "typer": {"cli"},
    "ray": {"cluster"},
    "rich": {"cli/console.py", "system/tables.py"},
    "timm": {"models/pretrained.py"},
    "h5py": {"models/keras/hdf5.py"},
    "onnx": {"exporting"},
    "onnxruntime": {"inference/onnx_classifier.py", "exporting/quantise.py"},
    "mlflow": {"views/track.py"},
    "fastapi": {"web"},
    "uvicorn": {"web"},
    "jinja2": {"views/html.py", "web"},
}  # fmt: skip
WITHOUT_TORCH = (
    "recipe", "errors", "recipes", "runs", "results.predictions", "results.scores", "results.reconstructions",
    "results.segmentations", "results.metrics", "results.threshold", "report.report", "views.plots", "views.dense_plots", "results.calibration",
    "comparison.compare", "distributed.child", "inference.predict", "inference.dense", "inference.bulk",
    "inference.onnx_classifier", "inference.annotate", "cluster.packing", "cluster.ray_cluster", "system.environment",
    "system.files", "cli.console", "reader.mnist_digit", "reader.postcode", "inference.postal_code", "data.masks.pairs", "data.masks.legend",
    "data.masks.scan", "data.loading", "data.opening", "data.named", "data.prepare", "data.scan", "data.split",
    "data.store", "models.available", "studio.training", "data.glyphs.glyphs", "data.archives", "data.formats.folders", "data.formats.csv_table", "data.source", "data.layout",
)  # fmt: skip


def files():
    return sorted(PACKAGE.rglob("*.py"))


def nodes(path):
    """Every node of a file's syntax tree; equal files are parsed once."""
    return parsed(path.read_text(encoding="utf-8"))


@cache
def parsed(text):
    return tuple(ast.walk(ast.parse(text)))


def imports(path):
    """Modules that a file imports, those in functions and under TYPE_CHECKING too."""
    for node in nodes(path):
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
                assert place in homes or home(path) in homes, (
                    f"{place} imports {name}, whose home is {homes}"
                )


def graph(root=PACKAGE):
    """Which module of the package imports which: {module: {modules}}, imports in functions and
    under TYPE_CHECKING too.
    """
    modules = {
        ".".join(("eyesight", *path.relative_to(root).with_suffix("").parts)): path
        for path in root.rglob("*.py")
    }
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    arrows = {name: set() for name in modules if name != "eyesight"}
    for name in arrows:
        for node in nodes(modules[name]):
            arrows[name].update(
                target for target in targets(node, modules) if target in arrows and target != name
            )
    return arrows


def targets(node, modules):
    """The modules that an import statement names: `from eyesight.data import scan` names the module
    scan, not its package.
    """
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in modules else node.module for name in names]
    return []


def rooms(arrows, inside="eyesight"):
    """The graph of the rooms directly inside a package: {room: {rooms}}."""
    depth = inside.count(".") + 2

    def room(module):
        return ".".join(module.split(".")[:depth])

    result = {}
    for module, below in arrows.items():
        if module.startswith(f"{inside}."):
            below = {room(target) for target in below if target.startswith(f"{inside}.")}
            result.setdefault(room(module), set()).update(below - {room(module)})
    return result


def circles(arrows):
    """Groups of two or more nodes that reach each other."""
    reached = {node: reachable(arrows, node) for node in arrows}
    groups = {
        frozenset(other for other in reached[node] if node in reached[other]) for node in arrows
    }
    return [sorted(group) for group in groups if len(group) > 1]


def reachable(arrows, start):
    """Every node on a way from `start`, itself only when it lies on a circle."""
    seen, waiting = set(), list(arrows[start])
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(arrows[node])
    return seen


def floors(arrows):
    """The number of nodes on the longest way down a graph without circles."""
    heights = {}

    def height(node):
        if node not in heights:
            heights[node] = 1 + max(map(height, arrows[node]), default=0)
        return heights[node]

    return max(map(height, arrows))


def upward(house, order=FLOORS):
    """Imports that do not lead to a lower floor, as (from, to)."""
    floor = {f"eyesight.{room}": number for number, names in enumerate(order) for room in names}
    return sorted(
        (room, target)
        for room, below in house.items()
        for target in below
        if floor[target] <= floor[room]
    )


def test_every_room_has_its_floor_and_every_name_exists():
    named = [room for names in FLOORS for room in names]
    assert sorted(named) == sorted(room.removeprefix("eyesight.") for room in rooms(graph()))


def test_imports_point_down_and_never_in_a_circle(capsys):
    arrows = graph()
    house = rooms(arrows)
    assert circles(arrows) == [], "modules import each other"
    assert circles(house) == [], "rooms import each other"
    assert upward(house) == []
    assert len(house) <= 31
    assert floors(house) <= 11
    with capsys.disabled():
        for place in ("eyesight", "eyesight.data", "eyesight.web"):
            part = rooms(arrows, place)
            total = sum(map(len, part.values()))
            print(
                f"\n{place}: {len(part)} rooms, {floors(part)} floors, {total} arrows, {len(circles(part))} circles",
                end="",
            )


@pytest.mark.parametrize(
    ("place", "line", "seen"),
    [
        ("data/scan.py", "from eyesight.data.store import prepare_store", circles),
        ("system/files.py", "def later():\n    from eyesight.experiment import train", upward),
        ("results/metrics.py", "if TYPE_CHECKING:\n    from eyesight.report import report", upward),
    ],
)
def test_a_planted_circle_or_upward_import_is_seen(tmp_path, place, line, seen):
    planted = shutil.copytree(
        PACKAGE, tmp_path / "eyesight", ignore=shutil.ignore_patterns("__pycache__")
    )
    file = planted / place
    file.write_text(file.read_text(encoding="utf-8") + f"\n\n{line}\n", encoding="utf-8")
    arrows = graph(planted)
    assert seen(rooms(arrows)) if seen is upward else seen(arrows)


# One process imports more and more, and prints after each step what must not be there.
IMPORTING = """
import importlib, os, sys
def imported(*names):
    print([name for name in names if name in sys.modules])
import eyesight
imported("torch", "numpy", "PIL", "matplotlib")
sys.argv = ["eyesight", "--help"]
from eyesight.cli import main
sys.stdout, stdout = open(os.devnull, "w"), sys.stdout
try:
    main.main()
except SystemExit:
    pass
sys.stdout = stdout
imported("torch", "numpy")
for name in {names}:
    importlib.import_module(name)
imported("torch")
from eyesight import experiment
imported("timm", "torchvision", "sklearn")
os.chdir({place!r})
for name in ("digits", "objects"):
    few = {{"training.epochs": 1, "training.min_steps": 0, "data.size": 12}}
    eyesight.train(name, data="images", set=few, verbose=False)
imported("torch._dynamo", "torchvision", "onnx")
print([name for name in eyesight.__all__ if getattr(eyesight, name) is None])
"""


@pytest.fixture(scope="module")
def importing(tmp_path_factory):
    place = tmp_path_factory.mktemp("importing")
    drawn.folder(place / "images", 12, 16)
    code = IMPORTING.format(
        names=[f"eyesight.{name}" for name in WITHOUT_TORCH],
        place=str(place),
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_importing_the_package_is_quick(importing):
    assert importing[0] == "[]"


def test_help_needs_neither_torch_nor_numpy(importing):
    assert importing[1] == "[]"


def test_what_works_without_torch_does_not_import_it(importing):
    assert importing[2] == "[]"


def test_the_public_names_exist(importing):
    assert importing[5] == "[]"


def test_training_does_not_import_what_takes_seconds_and_few_need(importing):
    assert importing[3] == "[]"


def test_training_a_network_of_ours_does_not_import_the_compiler(importing):
    assert importing[4] == "[]"


HINTED = {
    "UserError": 1,
    "MissingError": 1,
    "DiskFullError": 1,
    "GoneError": 1,
    "Refused": 2,
}  # and at which place the hint stands
ELSEWHERE = {
    "data/glyphs/render.py",
    "data/archives.py",
}  # why a face is not used; what is wrong with an archive, whose name and hint are added


def test_every_error_for_people_says_how_to_mend_it():
    for path in files():
        if path.relative_to(PACKAGE).as_posix() in ELSEWHERE:
            continue
        for node in nodes(path):
            place = (
                HINTED.get(ast.unparse(node.func).rpartition(".")[2])
                if isinstance(node, ast.Call)
                else None
            )
            if place is None or any(isinstance(argument, ast.Starred) for argument in node.args):
                continue
            found = [
                *node.args[place : place + 1],
                *(keyword.value for keyword in node.keywords if keyword.arg == "hint"),
            ]
            said = found and not (isinstance(found[0], ast.Constant) and not found[0].value)
            assert said, f"{path.name}, line {node.lineno}: {ast.unparse(node)} has no hint"


def test_nothing_is_unpickled():
    for path in files():
        text = path.read_text(encoding="utf-8")
        assert not any(
            name.split(".")[0] in ("pickle", "dill", "joblib", "shelve") for name in imports(path)
        ), path
        for part in text.split("torch.load(")[1:]:
            assert "weights_only=True" in part[:200], path.name
        assert "allow_pickle=True" not in text, path.name
