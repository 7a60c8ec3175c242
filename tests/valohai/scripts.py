"""Scripts that say `import valohai`, run by the package of that name and by vhpack in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.valohai.servers import Page, Site
from vhpack.incumbent import FOLDER

_BEFORE = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import valohai
def show(what):
    try: print(what() if callable(what) else what)
    except BaseException as error: print(type(error).__name__)
def names(paths): return [os.path.basename(path) for path in paths]
def read(path): return open(path).read()
"""


@dataclass(frozen=True)
class Scene:
    """A script and what is around it."""

    code: str
    """`{url}` in it is the site's."""
    arguments: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    zips: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    pages: Mapping[str, Page] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def played(self, folder: Path, site: Site, *, ours: bool) -> tuple[str, str]:
        """Run the script in a folder of its own, and return what it said on stdout and stderr."""
        folder.mkdir()
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        for name, members in self.zips.items():
            with zipfile.ZipFile(folder / name, "w") as archive:
                for member, text in members.items():
                    archive.writestr(member, text)
        for name, content in self.config.items():
            (folder / ".valohai/config").mkdir(parents=True, exist_ok=True)
            text = json.dumps(content) if not isinstance(content, str) else content
            (folder / ".valohai/config" / name).write_text(text.replace("{url}", site.url))
        site.pages = {path: Page(**vars(page)) for path, page in self.pages.items()}
        for page in site.pages.values():
            page.failures = list(page.failures)
        (folder / "train.py").write_text((_BEFORE + self.code).replace("{url}", site.url))
        known = {**os.environ, "TMPDIR": str(folder / "tmp"), **self.variables}
        (folder / "tmp").mkdir()
        if ours:
            known["PYTHONPATH"] = FOLDER
        for name in ("VHPACK_RUN_ID", "VHPACK_RUN_BASE"):
            known.pop(name, None)
        command = [sys.executable, "train.py", *self.arguments]
        ran = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=120)
        return ran.stdout.strip(), ran.stderr.strip()
