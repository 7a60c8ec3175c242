"""Who may import whom, read off the sources: the layers stay layers, and files stay readable."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / "python" / "vhpack"
CORE = ROOT / "rust" / "core" / "src"
BINDING = ROOT / "rust" / "python" / "src"
LONGEST = 600
NO_NAMES = {"package", "blob", "item", "data", "info", "manager", "helper", "helpers", "util", "utils"}

# Each Python module, and the vhpack modules that it may load. A new module finds its place here first.
MAY_LOAD: dict[str, set[str]] = {
    "consts": set(),
    "errors": set(),
    "env": set(),
    "types": set(),
    "values": set(),
    "_engine": {"_vhpack"},
    "sizes": {"errors"},
    "durations": {"errors"},
    "config": {"env"},
    "runs": {"env", "errors"},
    "paths": {"consts", "env", "errors", "runs"},
    "given": {"errors"},
    "step": {"errors", "values"},
    "yaml": {"errors", "step"},
    "arguments": {"errors", "step", "values"},
    "cloning": set(),
    "writers": set(),
    "sidecars": {"errors"},
    "exits": set(),
    # Neither the environment nor the engine, neither a network nor a run: what it needs, its callers hand in.
    "registry": {"cloning", "errors", "writers"},
    "registrar": {"consts", "env", "errors", "registry", "runs"},
    "platform_api": {"env", "errors", "registrar", "registry", "remote", "runs", "web"},
    "pinning": {"env", "errors", "given", "platform_api", "registrar", "registry", "runs"},
    "unclosed": set(),
    "gathering": {"_engine", "errors", "hashing", "registry", "sidecars", "unclosed"},
    "afterwards": {"_engine", "errors", "recording", "registrar", "registry"},
    "recording": {
        "afterwards",
        "env",
        "errors",
        "exits",
        "gathering",
        "leaving",
        "paths",
        "prepare",
        "registrar",
        "registry",
        "runs",
        "outbox",
    },
    "datums": {"errors", "gathering", "registrar", "registry"},
    "aliases": {"datums", "errors", "registrar", "registry"},
    "spool": {"cloning", "errors"},
    "originals": {"errors", "hashing"},
    "stored": {"errors", "remote", "stores"},
    "packages": {"_engine", "_packing", "archive", "errors", "stored"},
    "weights": {"_packing", "designs", "errors", "paths", "registrar", "stored"},
    "storing": {
        *("_packing", "destinations", "env", "errors", "gathering", "leaving", "originals", "outbox", "packages", "paths"),
        *("recording", "registrar", "registry", "runs", "sizes", "spool", "stored", "uploading"),
    },
    "resuming": {
        "destinations",
        "env",
        "errors",
        "gathering",
        "originals",
        "registrar",
        "registry",
        "stored",
        "storing",
        "uploading",
    },
    "fetching": {
        *("archive", "cache", "download", "downloads", "errors", "hashing", "packages", "paths", "registrar", "registry"),
        "stored",
    },
    "designs": {"destinations", "errors", "runs", "stored"},
    "tasks": {"_packing", "designs", "errors", "models", "output_model", "paths", "registrar", "registry", "runs"},
    "models": {"designs", "errors", "fetching", "registrar", "registry", "resuming", "stored"},
    "described": {"designs", "errors", "models", "registrar", "registry", "tasks"},
    "output_model": {
        *("_packing", "described", "designs", "destinations", "env", "errors", "gathering", "packages", "paths", "registrar"),
        *("registry", "resuming", "runs", "spool", "stored", "storing", "supply", "tasks", "weights"),
    },
    "prepare": {"arguments", "config", "env", "errors", "given", "paths", "pinning", "recording", "runs", "step", "values"},
    "parameters": {"prepare", "step"},
    "metadata": {"config"},
    "execution": {"given", "paths"},
    "distributed": {"errors", "given", "paths"},
    "output_properties": {"errors", "metadata", "paths", "registry", "values"},
    "incumbent": {"errors"},
    "standin": {
        *("config", "consts", "controller_api", "distributed", "errors", "execution", "incumbent", "inputs", "metadata"),
        *("output_properties", "outputs", "parameters", "paths", "prepare", "types", "yaml"),
    },
    "standins": {"standin"},
    "remote": set(),
    "web": {"remote"},
    "stores": {"errors", "remote"},
    "controller_api": {"errors", "given", "paths", "remote", "web"},
    "cache": {"durations", "errors"},
    "download": {"cache", "errors", "remote"},
    "downloads": {
        "_progress",
        "cache",
        "cloning",
        "download",
        "durations",
        "env",
        "errors",
        "paths",
        "platform_api",
        "remote",
        "stores",
        "web",
    },
    "supply": {"controller_api", "download", "downloads", "errors", "paths", "prepare", "runs", "step"},
    "unpacking": {"archive", "cache", "env", "errors", "paths"},
    "inputs": {"paths", "supply", "unpacking"},
    "_progress": {"sizes"},
    "_packing": {"_engine", "_progress", "env", "errors", "sizes"},
    "finding": {"errors"},
    "importing": set(),
    "destinations": {"env", "errors", "importing", "runs", "sizes"},
    "leaving": {"sizes", "upload"},
    "upload": {"errors", "outbox"},
    "outbox": {"_engine", "destinations", "env", "errors", "importing", "leaving", "upload"},
    "uploading": {"destinations", "env", "errors", "outbox", "runs", "upload"},
    "outputs": {"_packing", "destinations", "directory", "env", "errors", "finding", "paths", "recording", "runs", "uploading"},
    "_members": {"errors"},
    "_manifests": {"_engine", "archive", "errors", "hashing"},
    "archive": {"_engine", "_members", "_packing", "_progress", "errors"},
    "dataset": {"_packing", "archive", "errors"},
    "committed": {"_packing", "archive", "errors", "hashing"},
    "trees": {"_engine", "committed", "errors"},
    "journal": {"committed"},
    "staging": {"committed", "errors", "journal", "trees"},
    "committing": {"_engine", "committed", "errors", "hashing", "trees"},
    "transaction": {"_packing", "committed", "committing", "errors", "journal", "staging", "trees"},
    "directory": {"_packing", "errors", "transaction", "trees"},
    "directory_tasks": {"committed", "directory", "errors", "trees"},
    "functions": set(),
    "sources": {"committed", "dataset", "errors"},
    "workers": set(),
    "mapping": {"_progress", "committed", "directory", "errors", "functions", "sources", "transaction", "trees", "workers"},
    "hashing": {"_engine", "_packing", "_progress", "errors"},
    "cli": {
        *(
            "_engine",
            "_manifests",
            "_packing",
            "_progress",
            "archive",
            "cli",
            "destinations",
            "env",
            "errors",
            "finding",
            "hashing",
        ),
        *("incumbent", "outbox", "sizes", "upload", "uploading", "yaml"),
        *("aliases", "cloning", "datums", "models", "output_model", "paths", "recording", "registrar", "registry", "runs"),
    },
    "__init__": {
        "env",
        *("_engine", "_packing", "archive", "controller_api", "dataset", "distributed", "errors", "execution", "hashing"),
        *("incumbent", "inputs", "metadata", "output_properties", "outputs", "parameters", "paths", "prepare", "runs"),
        *(
            "aliases",
            "committed",
            "config",
            "consts",
            "datums",
            "directory",
            "directory_tasks",
            "mapping",
            "recording",
            "standin",
            "types",
        ),
        *("models", "output_model", "tasks", "upload", "uploading"),
    },
    "__main__": {"cli"},
}

# Third parties and names that have one home, and their homes.
AT_HOME: dict[str, set[str]] = {
    "click": {"cli"},
    "rich": {"cli", "_progress"},
    "urllib3": {"web"},
    "sqlalchemy": {"registry"},
    "alembic": {"registry"},
    "psycopg": {"registry"},
    "obstore": {"stores"},
    "botocore": {"destinations", "stores"},
    "valohai": {"incumbent"},
    "yaml": {"yaml"},
    "valohai_yaml": {"yaml"},
    "os.environ": {"env"},
    "os.environb": {"env"},
    "os.getenv": {"env"},
    "os.putenv": {"env"},
    "vhpack._vhpack": {"_engine"},
}

# Each module of the core, and the modules that it may not use: the four lowest (formats, codecs, places, finding) know
# nothing of each other, and none calls a later stage.
APART = {"codec", "frame", "sink", "scan"}
LATER = {"pack", "plan", "pipeline", "commit", "read"}
MAY_NOT_USE: dict[str, set[str]] = {
    **{module: (APART - {module}) | LATER for module in APART},
    "plan": {"codec", "frame", "sink", "pipeline", "commit", "pack"},
    "pipeline": {"commit", "pack"},
    "commit": {"codec", "frame", "pack"},
    "read": {"frame", "sink", "plan", "pipeline", "commit", "pack"},
    **dict.fromkeys(("cancel", "digest", "error", "fs", "progress", "report", "request", "target"), APART | LATER),
}


def place(path: Path) -> str:
    """The layer that a source file belongs to: the first folder or module below the crate's or the package's."""
    base = PYTHON if path.is_relative_to(PYTHON) else CORE
    return path.relative_to(base).parts[0].removesuffix(path.suffix)


def python_files() -> list[Path]:
    return sorted(PYTHON.rglob("*.py"))


def loaded(node: ast.AST) -> Iterator[str]:
    """Dotted names that a module loads or reaches for when it runs; imports for type checkers alone do not count."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield f"{node.value.id}.{node.attr}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"vhpack(\.\w+)+", node.value):
        yield node.value  # for importlib
    for child in ast.iter_child_nodes(node):
        yield from loaded(child)


def names_loaded_by(path: Path) -> set[str]:
    return set(loaded(ast.parse(path.read_text(), str(path))))


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(PYTHON)))
def test_python_modules_load_only_what_their_layer_may(path: Path) -> None:
    here = place(path)
    assert here in MAY_LOAD, f"say in this file which modules `{here}` may load"
    known = {module.stem for module in PYTHON.iterdir() if module.suffix in (".py", ".pyi")} | {"cli", "registry", "yaml"}
    for name in names_loaded_by(path):
        parts = name.split(".")
        if parts[0] == "vhpack" and len(parts) > 1 and parts[1] in known and parts[1] != here:
            assert parts[1] in MAY_LOAD[here], f"{path.name} loads {name}"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(PYTHON)))
def test_names_with_a_home_stay_there(path: Path) -> None:
    for name in names_loaded_by(path):
        for owned, homes in AT_HOME.items():
            if name == owned or name.startswith(owned + "."):
                assert place(path) in homes, f"{path.name} reaches for {name}"


def test_every_layer_named_here_exists() -> None:
    assert set(MAY_LOAD) == {place(path) for path in python_files()}


def core_files() -> list[Path]:
    return sorted(CORE.rglob("*.rs"))


def without_comments(source: str) -> str:
    return re.sub(r"//[^\n]*", "", source)


def first_names(tree: str) -> set[str]:
    """Of `{a::b, c::{d, e}, f as g}`, or of `a::b`: the first name of each branch."""
    if not tree.startswith("{"):
        return set(re.findall(r"^\w+", tree))
    branches, depth, start = [], 0, 1
    for end, char in enumerate(tree):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if (char == "," and depth == 1) or depth == 0:
            branches.append(tree[start:end].strip())
            start = end + 1
        if depth == 0:
            break
    return {name for branch in branches for name in first_names(branch)}


def core_modules_used_by(path: Path) -> set[str]:
    """Modules of the core that a file names, by way of `crate::` or of as many `super::` as lead there."""
    source = without_comments(path.read_text())
    depth = len(path.relative_to(CORE).parts) - (1 if path.name in ("mod.rs", "lib.rs") else 0)
    ways = [r"\bcrate::", rf"\b(?:super::){{{depth}}}(?!super)"] if depth else [r"\bcrate::"]
    return {
        name
        for way in ways
        for found in re.finditer(way, source)
        for name in first_names(source[found.end() :])
        if (CORE / name).is_dir() or (CORE / f"{name}.rs").is_file()
    }


@pytest.mark.parametrize("path", core_files(), ids=lambda path: str(path.relative_to(CORE)))
def test_core_modules_keep_to_their_stage(path: Path) -> None:
    wrong = core_modules_used_by(path) & MAY_NOT_USE.get(place(path), set())
    assert not wrong, f"{path.relative_to(ROOT)} uses {sorted(wrong)}"


def test_the_four_lowest_modules_exist_and_are_checked() -> None:
    assert {place(path) for path in core_files()} >= APART
    assert any("error" in core_modules_used_by(path) for path in core_files()), "the reader of `use` lines finds nothing"


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("use crate::codec::Level;", {"codec"}),
        ("use crate::{codec::{Level, Codec}, frame};", {"codec", "frame"}),
        ("fn f() { crate::sink::open() }", {"sink"}),
        ("// use crate::codec", set()),
        ("use crate::{\n    error::{Error, Result},\n    scan::walk,\n};", {"error", "scan"}),
    ],
)
def test_uses_are_read_in_every_spelling(source: str, used: set[str]) -> None:
    text = without_comments(source)
    assert {name for found in re.finditer(r"\bcrate::", text) for name in first_names(text[found.end() :])} == used


def test_the_core_knows_neither_python_nor_the_network() -> None:
    manifest = (ROOT / "rust/core/Cargo.toml").read_text()
    assert not re.search(r"^(pyo3|vhpack-upload|vhpack-python|tokio|reqwest|object_store)\b", manifest, re.MULTILINE)


# Of the uploader: what a file below may not use. Sources, checksums and lines know no places; places repeat and remember nothing.
UPLOAD = ROOT / "rust" / "upload" / "src"
PLACES = {"s3", "azure", "web", "file"}
ABOVE = {"transfer", "engine", "sweep", "asked", "retry", "journal"}
UPLOAD_MAY_NOT_USE: dict[str, set[str]] = {
    **{place: (PLACES - {place}) | ABOVE for place in PLACES},
    "azure": {"web", "file"} | ABOVE,
    **dict.fromkeys(("body", "checksum", "meter", "plan", "sign", "source", "target", "wire", "xml"), PLACES | ABOVE),
    **dict.fromkeys(("journal", "retry", "lanes"), PLACES | {"transfer", "engine", "sweep"}),
    "transfer": PLACES | {"sweep"},
}


@pytest.mark.parametrize("path", sorted(UPLOAD.rglob("*.rs")), ids=lambda path: str(path.relative_to(UPLOAD)))
def test_modules_of_the_uploader_keep_to_their_layer(path: Path) -> None:
    source = without_comments(path.read_text())
    used = {name for found in re.finditer(r"\bcrate::", source) for name in first_names(source[found.end() :])}
    layer = path.relative_to(UPLOAD).parts[0].removesuffix(".rs")
    wrong = used & UPLOAD_MAY_NOT_USE.get(layer, set())
    assert not wrong, f"{path.relative_to(ROOT)} uses {sorted(wrong)}"


def test_the_uploader_knows_no_python() -> None:
    manifest = (ROOT / "rust/upload/Cargo.toml").read_text()
    assert not re.search(r"^(pyo3|vhpack-python)\b", manifest, re.MULTILINE)


def test_the_binding_uses_the_face_of_the_core_only() -> None:
    inner = "|".join(sorted(APART | {"pipeline", "plan", "commit", "fs"}))
    for path in sorted(BINDING.rglob("*.rs")):
        assert not re.search(rf"vhpack_core::(?:\{{[^}}]*\b)?(?:{inner})::", without_comments(path.read_text())), path.name


def written_files() -> list[Path]:
    folders = [ROOT / "python", ROOT / "rust", ROOT / "tests", ROOT / "benches"]
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".pyi", ".rs") and "target" not in path.parts
    ]


def test_files_stay_short() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in written_files()}
    assert {name: lines for name, lines in long.items() if lines > LONGEST} == {}


def test_files_are_named_after_their_nouns() -> None:
    assert [str(path.relative_to(ROOT)) for path in written_files() if path.stem.strip("_") in NO_NAMES] == []
