"""What people and programs read: text for people goes to stderr, data to stdout."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

from vhpack import sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

    from vhpack._engine import PackReport
    from vhpack.errors import PackError

_SHOWN = 10  # of a long list, unless -v asks for all


def visible(text: str) -> str:
    r"""Return text that a terminal shows and never obeys: on one line, control characters and stray bytes as escapes.

    Example:
        >>> from vhpack.cli.screen import visible
        >>> print(visible("a\nb\x1b[2J é"))
        a\nb\x1b[2J é
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    # Python holds a byte that is no UTF-8 as U+DC00 plus the byte.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def prepare() -> None:
    """Make both streams print what they can and escape what their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print a line for people; that nobody reads it any more is no failure."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


def end_line() -> None:
    """End the line in which a terminal has echoed the `^C` that was typed."""
    with contextlib.suppress(ValueError, AttributeError):
        if sys.stderr.isatty():
            say("")


def fail(text: str) -> None:
    """Print what went wrong."""
    say(f"Error: {visible(text)}")


def fail_as(json: bool, error: PackError) -> None:
    """Print what went wrong; where JSON is wanted, also as an object on stdout."""
    fail(str(error))
    if json:
        put_json(
            {
                "error": {
                    "kind": error.kind,
                    "message": str(error),
                    "errno": getattr(error, "errno", None),
                    "filename": getattr(error, "filename", None),
                }
            }
        )


def put(text: str) -> None:
    """Print data, and make sure that it arrived."""
    out = _stdout()
    print(text, file=out)
    out.flush()


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed; nobody could read what was printed")
    return sys.stdout


def stdout_is_terminal() -> bool:
    """Tell whether a person reads what is printed as data."""
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # stdout is None, or closed
        return False


def put_bytes(content: bytes) -> None:
    """Print bytes as they are, and make sure that they arrived."""
    out = _stdout()
    out.flush()
    out.buffer.write(content)
    out.buffer.flush()


def put_lines(lines: bytes) -> None:
    """Print whole lines as they are; on a terminal, as it can show them."""
    if stdout_is_terminal():
        put("\n".join(visible(os.fsdecode(line)) for line in lines.removesuffix(b"\n").split(b"\n")))
    else:
        put_bytes(lines)


def read_stdin() -> bytes:
    """Read standard input to its end."""
    return sys.stdin.buffer.read() if sys.stdin else b""


def put_names(names: Iterable[str]) -> None:
    """Print names as data, one a line, whatever is in them."""
    put("\n".join(map(visible, names)))


def put_json(value: object) -> None:
    """Print one JSON object on one line; names that are no UTF-8 keep their bytes as U+DC80 to U+DCFF."""
    import json

    put(json.dumps(value))


def drop_stdout() -> None:
    """Send what is left for stdout nowhere: its reader has gone, and the interpreter would complain at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


def say_pairs(title: str, pairs: Sequence[tuple[str, str]], *, everything: bool = False) -> None:
    """Print paths and what is to be said of each, the first ten or all."""
    say(f"{title}:")
    shown = pairs if everything else pairs[:_SHOWN]
    try:
        here = os.path.join(os.getcwd(), "")
    except OSError:  # It is gone; absolute paths do without.
        here = ""
    for path, why in shown:
        say(f"  {visible(path.removeprefix(here))}: {visible(why)}")
    if len(pairs) > len(shown):
        say(f"  ... and {len(pairs) - len(shown):,} more (all of them with -v or --json)")


def say_names(names: Iterable[str]) -> None:
    """Print names for people, one a line."""
    say("\n".join(map(visible, names)))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> from vhpack.cli.screen import counted
        >>> counted(1, "file"), counted(200_000, "file")
        ('1 file', '200,000 files')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _codecs(report: PackReport) -> list[tuple[int, str]]:
    both = [(report.stored, "stored"), (report.deflated, "deflated")]
    return [(report.zstd, "in zstd"), *(pair for pair in both if pair[0])] if report.zstd else both


def closing(report: PackReport) -> str:
    """Return the line that says what a pack did."""
    things = [counted(report.files, "file")]
    if report.directories:
        things.append(counted(report.directories, "empty folder"))
    if report.links:
        things.append(counted(report.links, "link"))
    ratio = f" ({report.bytes_out / report.bytes_in:.1%})" if report.bytes_in else ""
    # A call that only finished the removal has packed nothing, at no speed.
    speed = [] if report.resumed else [f"{report.bytes_in / max(report.seconds, 1e-6) / 1e6:,.0f} MB/s"]
    done = [
        *things,
        f"{sizes.text(report.bytes_in)} → {sizes.text(report.bytes_out)}{ratio}",
        f"{report.seconds:.2f} s",
        *speed,
        *(f"{count:,} {how}" for count, how in _codecs(report)),
    ]
    if report.resumed:
        done.append("made by an earlier call")
    if report.removed:
        done.append(counted(report.removed, "original") + " removed")
    more = len(report.targets) - 1
    rest = f" and {counted(more, 'more shard')}" if more > 0 else ""
    return f"{visible(report.target)}{rest}: {', '.join(done)}"
