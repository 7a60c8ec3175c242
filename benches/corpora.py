"""Write the corpora that the benches pack: the same bytes on every machine, made on all cores.

    python benches/corpora.py                    # all of them, about 11 GB of disk, a few minutes
    python benches/corpora.py png json           # only these
    python benches/corpora.py --scale 0.01       # a hundredth of each, in a folder of its own

The folder is $VHPACK_BENCH_DIR, by default `target/bench` of this project. A corpus that is complete is left as it is (a marker
beside its folder says so); one that was interrupted is written again in place. Nothing is ever deleted here: on ext4, creating
files in the minute after deleting as many takes two to three times as long.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PROJECT = Path(__file__).resolve().parent.parent
SEED = 20_261_120
"""Every generator starts from this, its corpus's name and the number of the chunk, so the cores share no state."""

MIB = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """One tree to pack: `count` files, named and filled by `fill`, `per_chunk` at a time."""

    name: str
    title: str
    count: int
    per_chunk: int
    version: int
    """Raised when the bytes change, so that a tree of older bytes is not taken for this one."""

    def folder(self, base: Path) -> Path:
        return base / self.name

    def marker(self, base: Path) -> Path:
        return base / f"{self.name}.complete.json"


@dataclass(frozen=True)
class Tree:
    """A corpus on disk."""

    name: str
    title: str
    folder: Path
    files: int
    bytes: int


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus("png", "200,000 PNG images of about 11 KB, one folder", 200_000, 200, 1),
        Corpus("json", "20,000 JSON annotation files of about 11 KB, one folder", 20_000, 100, 1),
        Corpus("checkpoint", "one bf16 checkpoint of 2 GiB, safetensors layout", 1, 1, 1),
        Corpus("weights", "the same of 512 MiB", 1, 1, 1),
        Corpus("samples", "5,000 files of 20 KB that do not compress, 500 to a folder", 5_000, 500, 1),
        Corpus("small-100k", "100,000 text files of 1 KB, 1,000 to a folder", 100_000, 1_000, 1),
        Corpus("small-1m", "1,000,000 text files of 1 KB, 1,000 to a folder", 1_000_000, 1_000, 1),
    )
}


def default_base() -> Path:
    """Give `$VHPACK_BENCH_DIR`, or `target/bench` of this project."""
    return Path(os.environ.get("VHPACK_BENCH_DIR") or PROJECT / "target" / "bench")


def scaled_base(base: Path, scale: float) -> Path:
    """Give the folder of the corpora at `scale`; full size lies in `base` itself."""
    return base if scale == 1 else base / f"scale-{scale:g}"


# --- images ---------------------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 80, 60


def png_files(chunk: int, numbers: range) -> Iterator[tuple[str, bytes]]:
    """RGB images: a smooth scene plus sensor noise, so that what deflate leaves is as dense as in photographs."""
    import numpy as np

    random = np.random.default_rng([SEED, 1, chunk])
    count = len(numbers)
    y = np.linspace(0, 1, HEIGHT, dtype=np.float32)[None, :, None, None]
    x = np.linspace(0, 1, WIDTH, dtype=np.float32)[None, None, :, None]

    def draw(low: float, high: float, channels: int = 3) -> npt.NDArray[np.float32]:
        return random.uniform(low, high, (count, 1, 1, channels)).astype(np.float32)

    scene = draw(60, 190) + draw(-50, 50) * x + draw(-50, 50) * y
    scene = scene + draw(5, 30) * np.sin(draw(4, 14, 1) * x + draw(4, 14, 1) * y + draw(0, 6))
    noise = random.standard_normal(scene.shape, dtype=np.float32) * draw(8, 18, 1)
    pixels = np.clip(scene + noise, 0, 255).astype(np.uint8)

    filtered = np.empty((count, HEIGHT, 1 + 3 * WIDTH), dtype=np.uint8)
    rows = pixels.reshape(count, HEIGHT, 3 * WIDTH)
    filtered[:, :, 0] = 1  # the "Sub" filter: each byte is stored as its difference to the pixel on its left
    filtered[:, :, 1:4] = rows[:, :, :3]
    filtered[:, :, 4:] = rows[:, :, 3:] - rows[:, :, :-3]
    for number, image in zip(numbers, filtered, strict=True):
        yield f"{number:06d}.png", encode_png(image.tobytes())


def encode_png(filtered: bytes) -> bytes:
    """Wrap filtered rows into the four parts that a PNG must have."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered, 6)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


# --- annotations ----------------------------------------------------------------------------------------------------------------

CATEGORIES = (
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "bus",
    "truck",
    "traffic light",
    "stop sign",
    "pedestrian crossing",
    "dog",
)
WEATHER = ("clear", "overcast", "light rain", "heavy rain", "fog", "snow")
CAMERAS = ("front-left", "front-centre", "front-right", "rear")


def json_files(chunk: int, numbers: range) -> Iterator[tuple[str, bytes]]:
    """Records of an annotation tool: repeated keys and words, and numbers that nothing can squeeze."""
    random = Random(f"{SEED} json {chunk}")
    for number in numbers:
        yield f"{number:06d}.json", json.dumps(annotation_record(random, number)).encode()


def annotation_record(random: Random, number: int) -> dict[str, object]:
    annotations = [annotation(random, number * 100 + index) for index in range(random.randint(17, 26))]
    return {
        "image": {
            "id": number,
            "file_name": f"{number:06d}.png",
            "width": 1920,
            "height": 1080,
            "captured_at": f"2026-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}T{random.randint(0, 23):02d}:{random.randint(0, 59):02d}:00Z",
            "camera": random.choice(CAMERAS),
            "weather": random.choice(WEATHER),
        },
        "annotations": annotations,
    }


def annotation(random: Random, identity: int) -> dict[str, object]:
    left, top = random.uniform(0, 1800), random.uniform(0, 1000)
    width, height = random.uniform(4, 300), random.uniform(4, 300)
    outline = [round(value, 3) for _ in range(14) for value in (left + random.uniform(0, width), top + random.uniform(0, height))]
    return {
        "id": identity,
        "category": random.choice(CATEGORIES),
        "bounding_box": {"left": round(left, 2), "top": round(top, 2), "width": round(width, 2), "height": round(height, 2)},
        "outline": outline,
        "confidence": round(random.random(), 6),
        "attributes": {"occluded": random.random() < 0.3, "truncated": random.random() < 0.1, "crowd": False},
        "annotator": f"annotator-{random.randint(1, 12):02d}",
    }


# --- small texts ----------------------------------------------------------------------------------------------------------------

LINE = b"sample 000000 x 0.000 y 0.000 z\n"
LINES = 32


def small_files(chunk: int, numbers: range) -> Iterator[tuple[str, bytes]]:
    """Sensor readings, exactly 1,024 bytes a file."""
    import numpy as np

    random = np.random.default_rng([SEED, 3, chunk])
    line = np.frombuffer(LINE, dtype=np.uint8)
    lines = np.tile(line, (len(numbers), LINES, 1))
    digits = np.flatnonzero(line == ord("0"))
    lines[:, :, digits] = random.integers(ord("0"), ord("9") + 1, (len(numbers), LINES, len(digits)), dtype=np.uint8)
    for number, text in zip(numbers, lines, strict=True):
        yield f"{chunk:04d}/{number:07d}.txt", text.tobytes()


def sample_files(chunk: int, numbers: range) -> Iterator[tuple[str, bytes]]:
    """Random bytes, as of encoded samples."""
    random = Random(f"{SEED}-samples-{chunk}")
    for number in numbers:
        yield f"{chunk:02d}/{number:05d}.bin", random.randbytes(20_000)


# --- checkpoint -----------------------------------------------------------------------------------------------------------------

LAYER_SHAPES = {"attention.qkv": (3072, 1024), "attention.out": (1024, 1024), "mlp.up": (4096, 1024), "mlp.down": (1024, 4096)}


def checkpoint_header(size: int) -> bytes:
    """A safetensors header naming as many layers as `size` bytes hold; one last tensor takes the rest."""
    tensors: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset, layer = 0, 0
    per_layer = sum(2 * math.prod(shape) for shape in LAYER_SHAPES.values())
    while offset + per_layer <= size:
        for name, shape in LAYER_SHAPES.items():
            end = offset + 2 * math.prod(shape)
            tensors[f"model.layers.{layer}.{name}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
            offset = end
        layer += 1
    if offset < size:
        tensors["model.embed.weight"] = {"dtype": "BF16", "shape": [(size - offset) // 2], "data_offsets": [offset, size]}
    text = json.dumps(tensors, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def checkpoint_block(number: int, size: int) -> bytes:
    """Weights as training leaves them: normally distributed, rounded to bf16 (the upper half of a float32)."""
    import numpy as np

    random = np.random.default_rng([SEED, 4, number])
    weights = random.standard_normal(size // 2, dtype=np.float32) * np.float32(0.02)
    bits: npt.NDArray[np.uint32] = weights.view(np.uint32)
    upper: npt.NDArray[np.uint16] = ((bits + np.uint32(0x7FFF)) >> np.uint32(16)).astype("<u2")
    return upper.tobytes()


CHECKPOINT_BLOCK = 16 * MIB
CHECKPOINTS = {"checkpoint": 2048 * MIB, "weights": 512 * MIB}


def write_checkpoint_block(job: tuple[str, int, int, int]) -> tuple[int, int]:
    path, start, number, size = job
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, checkpoint_block(number, size), start + number * CHECKPOINT_BLOCK)
    finally:
        os.close(descriptor)
    return 0, size


def checkpoint_jobs(folder: Path, whole: int, scale: float) -> Iterator[tuple[str, int, int, int]]:
    size = max(2, int(whole * scale) & ~1)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    header = checkpoint_header(size)
    path.write_bytes(header)
    for number, offset in enumerate(range(0, size, CHECKPOINT_BLOCK)):
        yield os.fspath(path), len(header), number, min(CHECKPOINT_BLOCK, size - offset)


# --- writing --------------------------------------------------------------------------------------------------------------------

FILL: dict[str, Callable[[int, range], Iterator[tuple[str, bytes]]]] = {
    "png": png_files,
    "json": json_files,
    "small-100k": small_files,
    "small-1m": small_files,
    "samples": sample_files,
}


def write_chunk(job: tuple[str, str, int, range]) -> tuple[int, int]:
    """Write one chunk of files; give their number and bytes."""
    name, folder, chunk, numbers = job
    written = 0
    made = ""
    for relative, contents in FILL[name](chunk, numbers):
        path = os.path.join(folder, relative)
        parent = os.path.dirname(path)
        if parent != made:
            os.makedirs(parent, exist_ok=True)
            made = parent
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, contents)
        os.close(descriptor)
        written += len(contents)
    return len(numbers), written


def chunk_jobs(corpus: Corpus, folder: Path, scale: float) -> Iterator[tuple[str, str, int, range]]:
    count = max(1, round(corpus.count * scale))
    for chunk, start in enumerate(range(0, count, corpus.per_chunk)):
        yield corpus.name, os.fspath(folder), chunk, range(start, min(count, start + corpus.per_chunk))


def find(name: str, base: Path) -> Tree | None:
    """Give the corpus when it is complete under `base`."""
    corpus = CORPORA[name]
    try:
        found = json.loads(corpus.marker(base).read_text())
    except FileNotFoundError:
        return None
    if found["version"] != corpus.version:
        return None
    return Tree(name, corpus.title, corpus.folder(base), found["files"], found["bytes"])


def ensure(name: str, base: Path, scale: float = 1) -> Tree:
    """Write the corpus under `base` unless it is complete there."""
    tree = find(name, base)
    return tree if tree is not None else write(CORPORA[name], base, scale)


def write(corpus: Corpus, base: Path, scale: float) -> Tree:
    folder = corpus.folder(base)
    started, told = time.perf_counter(), 0.0
    files = size = 0
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        if corpus.name in CHECKPOINTS:
            jobs = checkpoint_jobs(folder, CHECKPOINTS[corpus.name], scale)
            results = pool.imap_unordered(write_checkpoint_block, jobs)
        else:
            results = pool.imap_unordered(write_chunk, chunk_jobs(corpus, folder, scale))
        for new_files, new_bytes in results:
            files, size = files + new_files, size + new_bytes
            if time.perf_counter() > told + 5:
                told = time.perf_counter()
                print(f"{corpus.name}: {files:,} files, {size / 1e6:,.0f} MB, {told - started:.0f} s", file=sys.stderr)
    if corpus.name in CHECKPOINTS:
        files, size = 1, (folder / "model.safetensors").stat().st_size
    os.sync()
    tree = Tree(corpus.name, corpus.title, folder, files, size)
    corpus.marker(base).write_text(json.dumps({"version": corpus.version, "files": files, "bytes": size}) + "\n")
    print(
        f"{corpus.name}: complete, {files:,} files, {size / 1e6:,.1f} MB in {time.perf_counter() - started:.0f} s",
        file=sys.stderr,
    )
    return tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CORPUS", help=f"which: {', '.join(CORPORA)} (default: all)")
    parser.add_argument("--scale", type=float, default=1, help="fraction of the full number of files (default: 1)")
    options = parser.parse_args()
    unknown = set(options.names) - set(CORPORA)
    if unknown:
        parser.error(f"no such corpus: {', '.join(sorted(unknown))}; there are {', '.join(CORPORA)}")
    base = scaled_base(default_base(), options.scale)
    for name in options.names or CORPORA:
        tree = ensure(name, base, options.scale)
        print(json.dumps(asdict(tree), default=os.fspath))


if __name__ == "__main__":
    main()
