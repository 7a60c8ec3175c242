"""What a new user reads first."""

import importlib.metadata
import shlex

import pytest
from click.testing import CliRunner, Result

from vhpack.cli.root import program

SCREEN_LINES = 40
SCREEN_COLUMNS = 80


def ask(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": str(SCREEN_COLUMNS)}).invoke(program, list(arguments), prog_name="vhpack")


def test_help_fits_a_screen() -> None:
    lines = ask("--help").output.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= SCREEN_COLUMNS


def test_help_of_compress_has_headings_and_fits_the_width() -> None:
    lines = ask("compress", "--help").output.splitlines()
    assert {"Archive and originals:", "Files:", "Method:", "Output:", "  Examples:"} <= set(lines)
    assert max(map(len, lines)) <= SCREEN_COLUMNS


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"]])
def test_examples_in_help_parse(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from vhpack.cli import compress

    monkeypatch.setattr(compress, "_compress", lambda _: 0)
    examples = [
        line.split("vhpack compress ", 1)[1] for line in ask(*arguments).output.splitlines() if "vhpack compress " in line
    ]
    assert len(examples) >= 4
    for example in examples:
        typed = shlex.split(example.split("  ")[0])
        assert ask("compress", *typed).exit_code == 0, example


def test_every_option_has_a_text() -> None:
    for line in ask("compress", "--help").output.splitlines():
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
