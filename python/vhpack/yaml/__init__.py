"""Reads steps out of scripts, and writes them into `valohai.yaml`."""

from typing import Any


def config_to_yaml(config: Any) -> str:  # noqa: ANN401 - of a library that is an extra
    """Return a `valohai_yaml.objs.Config` as the text of a `valohai.yaml`, under the name that valohai-utils has for it.

    Unlike `vhpack yaml step` it knows nothing of comments, nor of how a file was written before.

    Example:
        >>> import valohai_yaml
        >>> from vhpack.yaml import config_to_yaml
        >>> config = valohai_yaml.parse("- step: {name: train, image: 'python:3.12', command: [date]}")
        >>> print(config_to_yaml(config), end="")
        - step:
            name: train
            image: python:3.12
            command:
            - date
    """
    from vhpack.yaml import scalars

    return "".join(f"{line}\n" for item in config.serialize() for line in scalars.element(item, 0)) or "[]\n"
