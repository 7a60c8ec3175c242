"""The registry: 200,000 outputs at the end of a run, and one alias found among 100,000, measured in one process and printed as JSON.

    python benches/registering.py register FOLDER together    # one valohai.metadata.jsonl for all
    python benches/registering.py register FOLDER apart       # a sidecar for each file
    python benches/registering.py resolve FOLDER

The clock is this process's own: making the files is not the point. FOLDER is made, and removed at the end. Each file has a property and a
tag, a hundred of them an alias, and a thousand are a dataset's version; SQLite, the content store on the same file system.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from random import Random
from statistics import median

from contestants import Command, Contestant, Place, Section

FILES = 200_000
ALIASES = 100_000
LOOK_UPS = 2_000


def by_script(*words: str) -> Command:
    def command(place: Place) -> list[str]:
        folder = place.output.with_name(f"registering-{'-'.join(words)}")
        return [sys.executable, os.fspath(Path(__file__)), words[0], os.fspath(folder), *words[1:]]

    return command


REGISTER = Section(
    "register",
    "Registering 200,000 outputs",
    (
        Contestant("one properties file", by_script("register", "together"), ""),
        Contestant("a sidecar each", by_script("register", "apart"), ""),
    ),
    rounds=3,
    leaves="report",
    note="""\
From the end of the run's block to the end of the call: sidecars read, files hashed twice, contents linked into the store and brought to
the disk, rows written, aliases moved, a dataset's version made. Loading SQLAlchemy and making the registry is in it.
""",
)
RESOLVE = Section(
    "resolve",
    "One alias among 100,000",
    (Contestant("vhpack.data.get", by_script("resolve"), ""),),
    rounds=3,
    leaves="report",
    note="The median of 2,000 random look-ups in one process, each a transaction of its own.\n",
)
REGISTERING = (REGISTER, RESOLVE)


def said(number: int) -> dict[str, object]:
    found: dict[str, object] = {"number": number, "valohai.tags": ["made"]}
    if number % (FILES // 100) == 0:
        found["valohai.alias"] = f"alias-{number}"
    if number % (FILES // 1000) == 0:
        found["valohai.dataset-versions"] = ["dataset://set/v1"]
    return found


def make(root: Path, manner: str) -> None:
    names = [f"{number % 200:03}/{number:06}.bin" for number in range(FILES)]
    for folder in {name[:3] for name in names}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (root / name).write_bytes(f"the content of file {number}".encode())
        if manner == "apart":
            (root / f"{name}.metadata.json").write_text(json.dumps(said(number)))
    if manner == "together":
        with open(root / "valohai.metadata.jsonl", "w") as file:
            file.writelines(f"{json.dumps({'file': name, 'metadata': said(number)})}\n" for number, name in enumerate(names))
    os.sync()


def register(manner: str) -> dict[str, float]:
    import vhpack

    with vhpack.run(step="bench"):
        make(Path(vhpack.outputs().dir_path), manner)
        began = time.perf_counter()
    seconds = time.perf_counter() - began
    assert len(vhpack.aliases.list()) == 100
    return {"register": seconds}


def resolve() -> dict[str, float]:
    import vhpack
    from vhpack import registrar
    from vhpack.registry import aliases

    Path("a.txt").write_text("content")
    vhpack.data.add("a.txt")
    registry = registrar.opened()

    def fill(connection: object, project: int) -> None:
        for number in range(ALIASES):
            aliases.move(connection, project, f"alias-{number}", 1, aliases.Reason("bench", "set"))

    registry.write(fill)
    chance, taken = Random(6), []
    for _ in range(LOOK_UPS):
        uri = f"datum://alias-{chance.randrange(ALIASES)}"
        began = time.perf_counter()
        vhpack.data.get(uri)
        taken.append(time.perf_counter() - began)
    return {"resolve": median(taken)}


def main() -> None:
    what, folder, *more = sys.argv[1:]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    os.chdir(folder)
    os.environ.pop("VHPACK_REGISTRY_URL", None)
    phases = register(*more) if what == "register" else resolve()
    os.chdir("/")
    shutil.rmtree(folder)
    print(json.dumps({"phases": {name: {"wall": seconds} for name, seconds in phases.items()}}))


if __name__ == "__main__":
    main()
