"""The import rules of docs/design.md section 2, read from the source text: who may import whom."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "intarsia"

# room -> rooms it may import besides itself and the ground floor. A room is a folder of intarsia/, or a single file.
GROUND = {"contracts", "spec", "catalog", "consent", "colours", "label_sets", "terminal", "version"}
MAY_IMPORT = {
    "contracts": set(),
    "spec": set(),
    "catalog": {"consent"},
    "consent": set(),
    "colours": set(),
    "label_sets": set(),
    "terminal": set(),
    "version": set(),
    "io": set(),
    "distributed": {"io"},
    "layers": set(),
    "losses": {"layers"},
    "backbones": {"layers"},
    "necks": {"layers"},
    "methods": {"layers", "losses"},
    "models": {"layers"},
    "tasks": {"models", "losses", "layers"},
    "data": {"io"},
    "metrics": set(),
    "visual": {"io"},
    "weights": {"io"},
    "recipes": set(),
    "guide": {"recipes"},
    "demo": {"data", "io"},
    "inference": {"visual", "data", "tasks", "layers", "io"},
    "viewer": {"data", "visual", "inference", "io"},
    "evaluation": {"distributed", "data", "metrics", "inference", "visual", "io"},
    "engine": {"distributed", "tasks", "data", "metrics", "inference", "evaluation", "weights", "visual", "io"},
    "config": {"recipes", "tasks", "data", "models", "metrics", "losses", "layers", "io"},
    "export": {"tasks", "inference", "weights", "data", "layers", "io"},
    "api": {"config", "export", "data", "inference", "weights", "recipes", "tasks", "visual", "workflows"},
    "workflows": {
        "api", "config", "recipes", "tasks", "data", "metrics", "inference", "evaluation", "distributed", "engine",
        "weights", "visual", "export", "io", "guide", "viewer",
    },
    "cli": {
        "api", "workflows", "config", "recipes", "data", "inference", "evaluation", "distributed", "engine", "weights",
        "visual", "export", "demo", "io", "guide",
    },
    "smp": {"tasks", "workflows", "losses", "metrics"},
    "__init__": {"api", "inference", "losses", "metrics", "tasks", "workflows"},
    "__main__": {"cli"},
}  # fmt: skip

# What a user waits for before anything is computed: these modules, and all that they import, load nothing heavy.
LIGHT = (
    "intarsia", "intarsia.api", "intarsia.contracts", "intarsia.spec", "intarsia.catalog", "intarsia.recipes",
    "intarsia.cli.main", "intarsia.config.language.reader", "intarsia.config.language.merge", "intarsia.config.dump",
    "intarsia.config.lowering.lower", "intarsia.config.checking.check", "intarsia.config.build",
    "intarsia.data.description.model", "intarsia.data.doctor.examine", "intarsia.visual.overlay",
    "intarsia.visual.panes", "intarsia.guide.models", "intarsia.cli.models", "intarsia.workflows.view",
)  # fmt: skip
HEAVY = {
    "torch",
    "lightning_fabric",
    "timm",
    "transformers",
    "huggingface_hub",
    "onnx",
    "onnxruntime",
    "openvino",
    "rasterio",
    "pyogrio",
    "av",
    "wandb",
    "numba",
}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path, *, at_import_time: bool = False) -> list[tuple[str, int]]:
    """(module, line) of every import; with `at_import_time`, only those that run when the module is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[tuple[str, int]] = []

    def visit(node: ast.AST) -> None:
        if at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            if not at_import_time:
                for child in node.body:
                    visit(child)
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute in this project"
            if node.module == "intarsia":
                found.extend((f"intarsia.{alias.name}", node.lineno) for alias in node.names)
            else:
                found.append((node.module or "", node.lineno))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_only_what_they_may(path: Path) -> None:
    here = room(path)
    assert here in MAY_IMPORT, f"{path}: new room {here!r}; say in docs/design.md and here whom it may import"
    allowed = MAY_IMPORT[here] | GROUND | {here, "__version__"}
    if here in GROUND:
        allowed = {here} | MAY_IMPORT[here]
    for module, line in imports(path):
        if module.startswith("intarsia."):
            target = module.split(".")[1]
            assert target in allowed, f"{path}:{line}: {here} may not import {target}"


def test_no_circles_between_files() -> None:
    """Whatever a file imports, at the top, inside a function or for its types alone, does not lead back to it."""
    modules = {module_name(path): path for path in files()}
    uses = {name: imported_modules(path, modules) for name, path in modules.items()}
    found = []
    for name in uses:
        seen, open_ = set(), list(uses[name])
        while open_:
            module = open_.pop()
            if module not in seen:
                seen.add(module)
                open_ += uses[module]
        if name in seen:
            found.append(name)
    assert not found, f"these files import each other, perhaps through others: {', '.join(sorted(found))}"


def module_name(path: Path) -> str:
    parts = ("intarsia", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, modules: Collection[str]) -> set[str]:
    """Modules of ours whose names or contents a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("intarsia"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & set(modules)
            if inner - set(modules):
                found.add(node.module)
    return found & set(modules)


def test_no_method_imports_another() -> None:
    for path in (PACKAGE / "methods").glob("*.py"):
        for module, line in imports(path):
            assert not module.startswith("intarsia.methods"), f"{path}:{line}: a method stands alone"


def test_one_file_imports_fabric() -> None:
    users = {path.relative_to(PACKAGE).as_posix() for path in files() if _uses(path, "lightning_fabric")}
    assert users <= {"distributed/runtime.py"}


def _uses(path: Path, package: str) -> bool:
    return any(module.split(".")[0] == package for module, _ in imports(path))


def module_file(module: str) -> Path | None:
    path = PACKAGE.parent.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@pytest.mark.parametrize("start", LIGHT)
def test_light_modules_load_nothing_heavy(start: str) -> None:
    seen, open_ = set(), [start]
    while open_:
        module = open_.pop()
        path = module_file(module)
        if path is None or path in seen:
            continue
        seen.add(path)
        open_ += [".".join(module.split(".")[:depth]) for depth in range(1, module.count(".") + 1)]  # packages above
        for name, line in imports(path, at_import_time=True):
            assert name.split(".")[0] not in HEAVY, f"{start} loads {path}:{line}, which imports {name}"
            if name.startswith("intarsia"):
                open_.append(name)
        for name, _ in names_from_package(path):
            open_.append(name)


def names_from_package(path: Path) -> list[tuple[str, int]]:
    """`from intarsia.room import module` imports the module too."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("intarsia"):
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def test_everything_imports_only_the_declared() -> None:
    """Every third-party package imported anywhere is a dependency or an extra of pyproject.toml."""
    declared = {
        "torch", "lightning_fabric", "numpy", "cv2", "PIL", "safetensors", "yaml", "rich", "typer", "click",
        "matplotlib", "timm", "transformers", "onnx", "onnxruntime", "openvino", "rasterio", "av", "shapely",
        "tensorboard", "wandb", "scipy", "psutil", "albumentations", "requests", "urllib3", "filelock",
        "huggingface_hub", "pydicom", "pillow_heif", "pyspng", "isal", "simplejpeg", "numba", "tensorrt", "executorch",
        "coremltools", "litert_torch", "ai_edge_litert",
        "triton",  # comes with torch where it can run, and is asked for by `layers.triton.available`
    }  # fmt: skip
    for path in files():
        for module, line in imports(path):
            top = module.split(".")[0]
            known = top in sys.stdlib_module_names or top in declared or top == "intarsia"
            assert known, f"{path}:{line}: {top} is not declared in pyproject.toml"


def test_networks_round_up_as_onnx_does() -> None:
    """ONNX divides integers towards zero, so that -(-a // b) is one less there: an exported file would be wrong."""
    rooms = ("layers", "backbones", "necks", "methods", "models", "export")
    found = [
        f"{path}:{node.lineno}: use layers.patch_embed.pieces"
        for name in rooms
        for path in sorted((PACKAGE / name).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.FloorDiv)
        and isinstance(node.left, ast.UnaryOp)
        and isinstance(node.left.op, ast.USub)
    ]
    assert not found, "\n".join(found)


def test_modules_of_tests_have_names_of_their_own() -> None:
    """pytest imports them by their names alone, spawned processes too: of two files of one name only one is found."""
    files = [path for path in Path(__file__).parent.rglob("*.py") if path.name not in ("conftest.py", "__init__.py")]
    places: dict[str, list[str]] = {}
    for path in files:
        places.setdefault(path.stem, []).append(path.relative_to(PACKAGE.parent).as_posix())
    assert len(places) > 300, f"the tests were not found in {Path(__file__).parent}"
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
    assert places.keys() & sys.stdlib_module_names == set()
