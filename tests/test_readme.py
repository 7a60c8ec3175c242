"""The README's complete example does what it says, on real images."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import vhpack
from tests.demo_tree import draw
from tests.valohai.servers import http_site

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def job(work: Path) -> Path:
    """A folder with the README's script and the demo's images."""
    (script,) = re.findall(r"```python\n# resize\.py\n(.*?)```", README.read_text(), re.DOTALL)
    (work / "resize.py").write_text(script)
    draw(work / "resized")
    return work


def test_the_thumbnails_appear_together(job: Path) -> None:
    (script,) = re.findall(r"```python\n# thumbnails\.py\n(.*?)```", README.read_text(), re.DOTALL)
    (job / "thumbnails.py").write_text(script)
    ran = subprocess.run([sys.executable, "thumbnails.py"], cwd=job, capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")
    (made,) = job.glob(".valohai/outputs/*/thumbnails")
    assert ran.stdout == f"300 thumbnails in {made}\n"
    sizes = {Image.open(io.BytesIO(content)).size for _, content in vhpack.read_outputs(made, verify=True)}
    assert sizes == {(32, 32)}


def test_the_training_keeps_every_epoch(work: Path) -> None:
    scripts = re.findall(r"```python\n# (train_model\.py|in another script)\n(.*?)```", README.read_text(), re.DOTALL)
    (train,) = [text for name, text in scripts if name == "train_model.py"]
    (infer,) = [text for name, text in scripts if "model://line/prod" in text]
    (shell,) = [text for text in re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL) if "model versions line" in text]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VHPACK_")}
    environment["PATH"] = f"{sysconfig.get_path('scripts')}:{environment['PATH']}"
    for program in (
        [sys.executable, "-c", train],
        [sys.executable, "-c", f"import vhpack\n{infer}\nassert path and early"],
        ["sh", "-ec", shell],
    ):
        ran = subprocess.run(program, cwd=work, env=environment, capture_output=True, text=True, timeout=120)
        assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), ran.stderr
    slope, height = map(float, (work / "weights.txt").read_text().split())
    assert (round(slope), round(height)) == (3, 1)


def resize(job: Path, *arguments: str, before: tuple[str, ...] = ()) -> dict[str, tuple[int, int]]:
    """Run the script; the name and size of each image in the archive that it leaves."""
    already = set(job.glob(".valohai/outputs/*"))
    command = [sys.executable, *before, "resize.py", *arguments]
    ran = subprocess.run(command, cwd=job, capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")
    (run,) = set(job.glob(".valohai/outputs/*")) - already
    assert sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()) == [
        "resized/images.zip",
        "valohai.metadata.jsonl",
    ]
    with zipfile.ZipFile(run / "resized/images.zip") as archive:
        assert archive.testzip() is None
        sizes = {name: Image.open(io.BytesIO(archive.read(name))).size for name in archive.namelist()}
    described = json.loads((run / "valohai.metadata.jsonl").read_text())
    assert described == {"file": "resized/images.zip", "metadata": {"valohai.alias": "resized-latest", "count": len(sizes)}}
    metrics = [json.loads(line)["images"] for line in ran.stdout.split("\n") if line]
    assert metrics == list(range(100, len(sizes) + 1, 100))
    return sizes


def test_the_first_five_minutes_can_be_typed_from_top_to_bottom(work: Path) -> None:
    """Behind `cd demo`, where `make demo` has put the images."""
    chapter = README.read_text().split("## Five minutes")[1].split("### In a job")[0]
    blocks = re.findall(r"```(sh|python)\n(.*?)```", chapter, re.DOTALL)
    assert len(blocks) >= 5
    draw(work / "resized")
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    for language, text in blocks:
        typed = text.split("cd demo\n")[-1] if language == "sh" else f"import vhpack\n{text}"
        program = ["sh", "-ec", typed] if language == "sh" else [sys.executable, "-c", typed]
        ran = subprocess.run(program, cwd=work, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, (text, ran.stderr)
    assert list((work / "moved").iterdir()) == []
    assert len(list((work / "there").iterdir())) == 300


def test_the_resizing_step_runs_from_images_to_an_archive(job: Path) -> None:
    sizes = resize(job)
    assert len(sizes) == 300
    assert set(sizes.values()) == {(64, 48)}


def test_the_resizing_step_takes_parameters_and_an_archive(job: Path) -> None:
    with zipfile.ZipFile(job / "resized.zip", "w") as archive:
        for path in sorted((job / "resized").iterdir())[:7]:
            archive.write(path, path.name)
    assert resize(job, "--width=32", "--images", "resized.zip") == {f"{number:04}.png": (32, 48) for number in range(7)}


def test_the_resizing_step_takes_urls_and_an_unmodified_script(job: Path) -> None:
    script = (job / "resize.py").read_text()
    (job / "resize.py").write_text(script.replace("import vhpack\n", "import valohai\n").replace("vhpack.", "valohai."))
    with http_site() as site:
        urls = [site.put(f"/{name}", (job / "resized" / name).read_bytes()) for name in ("0001.png", "0002.png")]
        sizes = resize(job, "--images", *urls, before=("-m", "vhpack", "run"))
    assert sizes == {"0001.png": (64, 48), "0002.png": (64, 48)}
