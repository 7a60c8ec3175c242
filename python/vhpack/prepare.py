"""`prepare()`: a step's name, parameters and inputs, and which of code, files and command line has the last word."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from vhpack import arguments, config, env, paths, runs
from vhpack.errors import OptionError
from vhpack.given import GivenInput, has_references, read_inputs, read_object
from vhpack.step import Step, describe, key
from vhpack.values import exactly, kind_of_all, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from vhpack.arguments import Option
    from vhpack.runs import Run
    from vhpack.step import Parameter
    from vhpack.types import InputDict, ParameterDict
    from vhpack.values import Kind, Value

_KERNELS = ("ipykernel_launcher.py", "colab_kernel_launcher.py")


def prepare(
    *,
    step: str,
    default_parameters: ParameterDict | None = None,
    default_inputs: InputDict | None = None,
    image: str | None = None,
    environment: str | None = None,
    multifile: bool = False,
    upload_store: str | None = None,
) -> None:
    """Say what the step is called, and which parameters and inputs it has.

    A value comes from the command line, else from `parameters.json` or `inputs.json` in the config folder, else from
    the defaults given here, each name by itself. (In a job of the platform, where `inputs.json` lists inputs, one that it
    leaves out has no files.)

    On the command line `--learning-rate=.002` and `--learning_rate .002` are the same. Values have the types of the
    defaults: a flag is set by `--x` and unset by `--x=false`, `0`, `no` or `off`; a list is given as `--x=a,b` or by
    repeating the option. Where a specification says `pass-as`, `pass-true-as` or `pass-false-as`, that is understood, too. A
    value of another type ends the program with one line and status 2. An argument that is no
    option of the step is warned about and left to the script; `sys.argv` stays as it is, and `--help` is the script's.

    Inputs may be `datum://ALIAS`, `datum://ID`, `dataset://NAME/VERSION`, `dataset://NAME/ALIAS` and `model://NAME/ALIAS`: they
    are looked up here, once for the run and all its processes, and mean the same files for good, wherever the alias goes.

    At the end of the script its outputs are registered, where `vhpack[registry]` is installed; see `vhpack.run`. A script
    that fails, by an exception or an exit status, moves no alias. `VHPACK_REGISTRY_URL=off` leaves all of that out.

    Another call replaces what the first one said.

    Args:
        step: The step's name in `valohai.yaml`.
        default_parameters: Name to a bool, int, float or str, a list of one of them, None for text that may be missing, or a
            specification as in `valohai.yaml`: `{"default": 5, "min": 0, "description": "..."}`.
        default_inputs: Name to a URL, a local path or pattern, a list of them, or a specification:
            `{"default": "s3://bucket/*.jpg", "keep-directories": "suffix"}`.
        image: Container image that the step runs in.
        environment: The platform's machine type, by its slug or ID.
        multifile: Several files of source code share the step.
        upload_store: Where the platform stores outputs.

    Raises:
        StepError: an argument has the wrong type, or two options cannot be told apart.
        ConfigError: a file in the config folder cannot be read.
        NotRegisteredError: an input is no datum, alias or dataset that is known.
        RegistryError: the registry cannot be used.
        SystemExit: the command line has a wrong value; the status is 2.

    Example:
        >>> import vhpack
        >>> vhpack.prepare(step="train", default_parameters={"learning-rate": 0.001}, default_inputs={"images": "data/*.jpg"})
        >>> vhpack.parameters("learning-rate").value
        0.001
    """
    described = describe(
        step=step,
        default_parameters=default_parameters,
        default_inputs=default_inputs,
        image=image,
        environment=environment,
        multifile=multifile,
        upload_store=upload_store,
    )
    for argument in _settle_or_end(described):
        sys.stderr.write(f"Warning: unknown argument {argument}\n")
    from vhpack import recording

    recording.begin()


def given() -> Run:
    """Return the default run with what it was given; without `prepare()`, that is what the files and the command line say.

    Raises:
        ConfigError, SystemExit: as `prepare`.
    """
    if not runs.is_settled():
        # What is unknown is nobody's mistake here: the script has not said what it knows.
        _settle_or_end(Step(name=""))
    return runs.current()


def _settle_or_end(step: Step) -> list[str]:
    try:
        return _settle(step, _command_line())
    except OptionError as error:
        sys.stderr.write(f"{os.path.basename(sys.argv[0])}: error: {error}\n")
        raise SystemExit(2) from None


def _command_line() -> Sequence[str]:
    # A notebook's kernel was started with arguments of its own. (A variable of the environment would not do as a sign of it:
    # scripts that a notebook starts inherit all of those.)
    return () if is_kernel() else sys.argv[1:]


def is_kernel() -> bool:
    """Return whether this process is a notebook's kernel."""
    program = sys.argv[0] if sys.argv else ""
    folder, name = os.path.split(program)
    # By the program's own name, or its package's: folders of scripts may be called after kernels, too.
    return name in _KERNELS or os.path.basename(folder) == "ipykernel"


def _settle(step: Step, command_line: Sequence[str]) -> list[str]:
    values, options = _parameters(step, read_object(paths.get_parameters_config_path()) or {})
    inputs = _inputs(step, read_inputs(paths.get_inputs_config_path()) or {})
    found = arguments.read(command_line, options, inputs)
    values.update({name: said for name, said in found.parameters.items() if not _is_said(values.get(name), said, options[name])})
    inputs.update({name: GivenInput(places=places) for name, places in found.inputs.items()})
    if env.read().run_copy_of or any(map(has_references, inputs.values())):
        from vhpack import pinning

        inputs = pinning.pinned(step.name, values, inputs, given_now=found.inputs)
    runs.settle(runs.Settled(step.name, values, inputs))
    return found.unknown


def _is_said(held: Value, said: Value, option: Option) -> bool:
    """Return whether a job's command line has a list as the platform writes the one of `parameters.json`.

    Of the two only the file tells which commas part its elements.
    """
    if not (
        isinstance(held, list) and isinstance(said, list) and option.multiple == "separate" and config.is_running_in_valohai()
    ):
        return False
    return option.separator.join(map(str, held)) == option.separator.join(map(str, said))


def _parameters(step: Step, file: Mapping[str, object]) -> tuple[dict[str, Value], dict[str, Option]]:
    values = {parameter.name: parameter.value for parameter in step.parameters}
    options = {parameter.name: _option(parameter, parameter.kind, parameter.multiple) for parameter in step.parameters}
    declared = {key(parameter.name): parameter for parameter in reversed(step.parameters)}
    declared |= {parameter.name: parameter for parameter in step.parameters}
    for spelled, value in file.items():
        parameter = declared.get(spelled) or declared.get(key(spelled))
        name = parameter.name if parameter else spelled
        values[name], options[name] = _from_file(parameter, value)
    return values, options


def _from_file(parameter: Parameter | None, value: object) -> tuple[Value, Option]:
    """Return a value of `parameters.json`, and how a command line overrides it.

    Whoever edits `valohai.yaml` may have made a float of what is an integer in code. So a value that fits the declared
    type exactly becomes one of it (5.0 becomes 5), and any other stays, and sets the type.
    """
    several = isinstance(value, list) or (parameter is not None and parameter.multiple is not None and value is not None)
    elements = value if isinstance(value, list) else [value]
    multiple = ((parameter.multiple if parameter else None) or "separate") if several else None
    if parameter is not None and value is None:
        return None, _option(parameter, parameter.kind, parameter.multiple)
    fitting = [exactly(parameter.kind, element) for element in elements] if parameter else [None]
    if parameter is not None and None not in fitting:
        typed: Value = fitting if several else fitting[0]  # type: ignore[assignment]
        return typed, _option(parameter, parameter.kind, multiple)
    plain_ones = tuple(found for found in map(plain, elements) if found is not None)
    kind = kind_of_all(plain_ones) or "string"
    return value, _option(parameter, kind, multiple)  # type: ignore[return-value]


def _option(parameter: Parameter | None, kind: Kind, multiple: Literal["separate", "repeat"] | None) -> Option:
    """Return how a parameter is overridden that has this type now."""
    if parameter is None:
        return arguments.Option(kind, multiple)
    return arguments.Option(kind, multiple, parameter.separator, arguments.passed_as(parameter))


def _inputs(step: Step, file: Mapping[str, GivenInput]) -> dict[str, GivenInput]:
    complete = bool(file) and config.is_running_in_valohai()
    inputs = {entry.name: GivenInput(places=() if complete else entry.default) for entry in step.inputs}
    declared = {key(entry.name): entry.name for entry in reversed(step.inputs)}
    for spelled, found in file.items():
        inputs[spelled if spelled in inputs else declared.get(key(spelled), spelled)] = found
    return inputs
