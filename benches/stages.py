"""Pack and remove a folder's files through `vhpack.pack`, and print the seconds that each stage took, as JSON.

    python stages.py FOLDER TARGET JOBS

The engine calls back about ten times a second, so a stage's time is right to a tenth of a second.
"""

from __future__ import annotations

import json
import sys
import time

import vhpack


def main() -> None:
    folder, target, jobs = sys.argv[1:]
    changes: list[tuple[str, float]] = []

    def watch(progress: vhpack.Progress) -> None:
        if not changes or changes[-1][0] != progress.stage:
            changes.append((progress.stage, time.perf_counter()))

    report = vhpack.pack(f"{folder}/*", target, jobs=int(jobs), remove_originals=True, progress=watch)
    ends = [*(at for _, at in changes[1:]), time.perf_counter()]
    phases = {stage: {"wall": end - start} for (stage, start), end in zip(changes, ends, strict=True)}
    print(json.dumps({"files": report.files, "removed": report.removed, "phases": phases}))


if __name__ == "__main__":
    main()
