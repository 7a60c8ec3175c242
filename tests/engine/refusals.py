"""What every refusal owes to the user: the path, the next step, exit 1, and a folder that nothing has touched."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import vhpack
from tests.engine.command import Ended, compress
from tests.engine.trees import snapshot


def check_refused(
    folder: Path,
    sources: Sequence[str],
    target: str,
    error: type[vhpack.PackError],
    *,
    says: Sequence[str],
    next_step: str,
    options: Sequence[str] = (),
    **keywords: Any,
) -> None:
    """Pack from `folder`, the working directory, in Python and by command; both refuse, say why, and change nothing.

    `next_step` is a pattern for the part of the sentence that tells the user what to do.
    """
    before = snapshot(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vhpack.PackWarning)
        with pytest.raises(error) as caught:
            vhpack.pack(list(sources), target, remove_originals=True, **keywords)
    check_words(str(caught.value), says, next_step)
    assert snapshot(folder) == before, "the refusal in Python left something behind"

    ended = compress("-o", target, "--remove-originals", *options, "--", *sources, cwd=folder)
    check_failed(ended, says, next_step)
    assert snapshot(folder) == before, "the refusal by command left something behind"


def check_failed(ended: Ended, says: Sequence[str] = (), next_step: str = "") -> None:
    """The command ended as a failure does: exit 1, words for people on stderr, nothing on stdout."""
    assert ended.code == 1, ended
    assert "Traceback" not in ended.err, ended.err
    assert "panicked" not in ended.err, ended.err
    assert not ended.out, ended.out
    check_words(" ".join(ended.err.split()), says, next_step)


def check_words(sentence: str, says: Sequence[str], next_step: str) -> None:
    """The sentence names what it is about and what to do next."""
    for word in says:
        assert word in sentence, f"{word!r} is not in: {sentence}"
    assert re.search(next_step, sentence, re.IGNORECASE), f"no next step like {next_step!r} in: {sentence}"
