"""Upload a folder's files, or do so beside other work, and print the seconds that matter as JSON on one line.

    python uploaders.py boto3 FOLDER BUCKET PREFIX       boto3's transfer manager with its defaults, ten threads
    python uploaders.py obstore FOLDER BUCKET PREFIX     obstore with its defaults, eight files at a time
    python uploaders.py pack FOLDER BUCKET PREFIX        one archive of all, sent while it is packed
    python uploaders.py loop FOLDER BUCKET PREFIX        steps of a small training loop while the folder is sent
    python uploaders.py loop-alone FOLDER BUCKET PREFIX  the same steps, and nothing else

Server and account are in the environment, as the clouds' own tools have them there.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

STEPS = 150
PACE = 50_000_000
"""Bytes a second while a loop runs: a network of 400 Mbit/s. Without a limit, the server would compete with the loop for the cores."""


def files_of(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def with_boto3(folder: str, bucket: str, prefix: str) -> dict[str, float]:
    import boto3
    from botocore.config import Config

    client = boto3.client("s3", config=Config(max_pool_connections=16, s3={"addressing_style": "path"}))
    with ThreadPoolExecutor(8) as pool:
        done = [
            pool.submit(client.upload_file, os.fspath(path), bucket, f"{prefix}/{path.relative_to(folder)}")
            for path in files_of(folder)
        ]
        for each in done:
            each.result()
    return {}


def with_obstore(folder: str, bucket: str, prefix: str) -> dict[str, float]:
    import obstore
    from obstore.store import S3Store

    store = S3Store(bucket, endpoint=os.environ["AWS_ENDPOINT_URL_S3"], client_options={"allow_http": True})
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(obstore.put, store, f"{prefix}/{path.relative_to(folder)}", path) for path in files_of(folder)]
        for each in done:
            each.result()
    return {}


def packed(folder: str, bucket: str, prefix: str) -> dict[str, float]:
    import vhpack

    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as outputs:
        os.environ["VH_OUTPUTS_DIR"] = outputs
        vhpack.set_upload_destination(f"s3://{bucket}/{prefix}")
        vhpack.outputs().compress(f"{folder}/*", "all.zip", live_upload=True, remove_originals=False)
        vhpack.wait_for_uploads()
    return {}


def loop(folder: str, bucket: str, prefix: str, *, alone: bool = False) -> dict[str, float]:
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    import numpy as np

    weights = np.random.default_rng(1).standard_normal((700, 700), dtype=np.float32)
    if not alone:
        import vhpack
        from vhpack import uploading

        vhpack.set_upload_destination(f"s3://{bucket}/{prefix}", max_bps=PACE)
        destination = vhpack.runs.destination()
        begun = uploading.begin(
            [(os.fspath(path), f"s3://{bucket}/{prefix}/{path.relative_to(folder)}") for path in files_of(folder)], destination
        )
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        _ = weights @ weights
        times.append(time.perf_counter() - began)
    if not alone:
        if any(upload.state in {"done", "failed"} for upload in begun):
            raise SystemExit("the uploads have ended before the loop")
        for upload in begun:
            upload.cancel()
        vhpack.wait_for_uploads(raise_on_error=False)
    return {"step": median(times)}


HOW = {
    "boto3": with_boto3,
    "obstore": with_obstore,
    "pack": packed,
    "loop": loop,
    "loop-alone": lambda *words: loop(*words, alone=True),
}


def main() -> None:
    how, *words = sys.argv[1:]
    phases = HOW[how](*words)
    print(json.dumps({"phases": {name: {"wall": seconds} for name, seconds in phases.items()}}))


if __name__ == "__main__":
    main()
