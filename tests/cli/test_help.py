"""What a new user reads first."""

import importlib.metadata
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vhpack.cli.root import program

COMMANDS = program.list_commands(click.Context(program))
SCREEN_COLUMNS = 80


def ask(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": str(SCREEN_COLUMNS)}).invoke(program, list(arguments), prog_name="vhpack")


def test_help_fits_a_screen() -> None:
    lines = ask("--help").output.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= SCREEN_COLUMNS


def test_help_of_compress_has_headings_and_fits_the_width() -> None:
    lines = ask("compress", "--help").output.splitlines()
    assert {"Archive and originals:", "Files:", "Method:", "Output:", "  Examples:"} <= set(lines)
    assert max(map(len, lines)) <= SCREEN_COLUMNS


def typed(help_text: str) -> Iterator[list[str]]:
    """What follows `vhpack` in the examples of a help page, up to the explanation, the pipe or the file behind it."""
    for line in help_text.split("Examples:")[1].splitlines():
        for part in line.split("|"):
            before, is_ours, rest = part.partition("vhpack ")
            if is_ours and not before.strip():
                words = shlex.split(rest.split("  ")[0])
                yield words[: words.index(">")] if ">" in words else words


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)])
def test_examples_in_help_parse(arguments: list[str]) -> None:
    examples = list(typed(ask(*arguments, "--help").output))
    assert len(examples) >= 2
    for command, *words in examples:
        found = program.get_command(click.Context(program), command)
        assert found is not None
        with found.make_context(command, words):
            pass


def test_the_example_of_compress_does_what_it_says(work: Path) -> None:
    (work / "resized").mkdir()
    (work / "resized/a.png").touch()
    (words,) = [words for words in typed(ask("--help").output) if "resized/*.png" in words]
    assert ask(*words).exit_code == 0
    assert (work / "resized.zip").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_fits_the_width(command: str) -> None:
    assert max(map(len, ask(command, "--help").output.splitlines())) <= SCREEN_COLUMNS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_text(command: str) -> None:
    for line in ask(command, "--help").output.splitlines():
        if line.startswith("  -"):
            assert len(line.split("  ", 2)) == 3, line


def test_version_names_the_codecs() -> None:
    said = ask("--version").output
    assert said.startswith(f"vhpack {importlib.metadata.version('vhpack')} (")
    assert "libdeflate" in said


def test_no_command_shows_the_help_as_wrong_usage() -> None:
    result = ask()
    assert result.exit_code == 2
    assert "Examples:" in result.stderr


def test_the_program_is_installed_under_its_name() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="vhpack")
    assert entry.value == "vhpack.cli:main"


def test_version_loads_no_more_than_it_needs() -> None:
    import subprocess
    import sys

    code = "import sys; from vhpack.cli import main; main(['--version']); print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"rich", "vhpack.cli.compress", "tempfile", "importlib.metadata", "asyncio"} & set(loaded)
