"""Metrics: values that a run prints as JSON, where the platform reads and plots them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vhpack import config

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

    from typing_extensions import Self


class Logger:
    """Collects names and values, and prints them as one line of JSON.

    NaN and infinities are printed as `null`, since JSON has no words for them. What JSON does not know is printed as text.

    Example:
        >>> import vhpack
        >>> for epoch in range(2):
        ...     with vhpack.logger() as logger:
        ...         logger.log("epoch", epoch)
        ...         logger.log(loss=0.5 / (epoch + 1), accuracy=float("nan"))
        <BLANKLINE>
        {"epoch": 0, "loss": 0.5, "accuracy": null}
        <BLANKLINE>
        {"epoch": 1, "loss": 0.25, "accuracy": null}
    """

    def __init__(self) -> None:
        self.partial_logs: dict[str, object] = {}

    def __enter__(self) -> Self:
        """Begin a new line."""
        self.partial_logs = {}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Print the line, also when an exception is on its way."""
        self.flush()

    def log(self, *args: object, **kwargs: object) -> None:
        """Add to the line: names and values in turn, or as keywords; the last value of a name counts.

        Raises:
            ValueError: a name comes without its value.
        """
        if len(args) % 2:
            raise ValueError(f"Odd number of arguments in {args} for log(); give names and values in turn")
        for name, value in zip(args[::2], args[1::2], strict=True):
            self.partial_logs[str(name)] = value
        self.partial_logs.update(kwargs)

    def flush(self) -> None:
        """Print the line, after an empty one, and begin a new one; nothing happens while there is nothing to print."""
        if not self.partial_logs:
            return
        # A deployment's log is read by a machinery that looks for this name.
        line = {"vh_metadata": self.partial_logs} if config.is_valohai_deployment() else self.partial_logs
        stream = _stream()
        if stream is not None:
            # In one piece, so that lines of several threads stay lines; at once, since a killed job prints nothing more.
            stream.write(f"\n{to_json(line)}\n")
            stream.flush()
        self.partial_logs.clear()

    flush_logs = flush


logger = Logger


def to_json(value: object) -> str:
    """Return valid JSON on one line, whatever the value is.

    Example:
        >>> from vhpack.metadata import to_json
        >>> to_json({"loss": float("inf"), "by class": {(1, 2): 0.5}})
        '{"loss": null, "by class": {"(1, 2)": 0.5}}'
    """
    import json

    try:
        return json.dumps(value, default=str, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(_speakable(value, ()), default=str, allow_nan=False)


def _speakable(value: object, above: tuple[int, ...]) -> object:
    """Return the value with `null` for what is no number, and text for keys that JSON does not know."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in above:
        raise ValueError("a value that contains itself cannot be written as JSON")
    above = (*above, id(value))
    if isinstance(value, dict):
        known = (str, int, float, bool, type(None))
        return {name if isinstance(name, known) else str(name): _speakable(held, above) for name, held in value.items()}
    return [_speakable(held, above) for held in value]


def _stream() -> TextIO | None:
    # A notebook catches what is printed, and the platform would never see it.
    return (sys.__stdout__ or sys.stdout) if config.is_in_notebook() else sys.stdout
