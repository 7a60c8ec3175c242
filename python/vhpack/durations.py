"""Lengths of time, as people write them into variables of the environment."""

from vhpack.errors import OptionError


def parse(variable: str, text: str, unit: str, *, below: float) -> float:
    """Return the number in a variable, which must be above zero.

    Args:
        variable: Its name, for the sentence to whoever set it.
        text: What it holds.
        unit: What it counts, as a word: `days`.
        below: What is no length of time that anyone means, infinity among it.

    Raises:
        OptionError: the text is no such number.

    Example:
        >>> from vhpack import durations
        >>> durations.parse("VHPACK_CACHE_DAYS", "0.5", "days", below=1e5)
        0.5
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < below:
        raise OptionError(f"{variable} is {text!r}, which is no number of {unit}; correct or unset it")
    return number
