"""What scripts for Valohai meet elsewhere, and what they meet here: each row runs one script under both.

The left column of a row is what valohai-utils 0.8 does, which is checked, too; the sentence says why it is different here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.valohai.scripts import Scene
from tests.valohai.servers import Page, Site


@dataclass(frozen=True)
class Row:
    """A difference."""

    topic: str
    why: str
    then: str
    now: str
    scene: Scene


def row(topic: str, why: str, then: str, now: str, code: str, *arguments: str, **around: object) -> Row:
    return Row(topic, why, then, now, Scene(code, arguments, **around))  # type: ignore[arg-type]


def epochs(*arguments: str, default: str = "5", **around: object) -> Scene:
    code = f"show(lambda: valohai.prepare(step='s', default_parameters={{'epochs': {default}}}))\nshow(valohai.parameters('epochs').value)"
    return Scene(code, arguments, **around)  # type: ignore[arg-type]


def filtered(path_filter: str) -> Scene:
    code = f"valohai.prepare(step='s', default_inputs={{'d': 'd/*'}})\nprint(sorted(names(valohai.inputs('d').paths({path_filter!r}))))"
    return Scene(code, files={f"d/{name}": name for name in ("a.txt", "axtxt", "c.txt.bak")})


PROPERTIES = "os.makedirs(valohai.paths.get_outputs_path(), exist_ok=True)\nimport valohai.output_properties\n"
LINES = "\nshow(lambda: read(valohai.paths.get_outputs_path() + '/valohai.metadata.jsonl').strip())"

ROWS = [
    # --- places
    row(
        *("local-paths", "a path must outlive os.chdir", "False", "True"),
        "print(os.path.isabs(valohai.paths.get_outputs_path()))",
    ),
    row(
        *("path-before-prepare", "outputs of one run belong into one folder, whenever their path was asked for", "False", "True"),
        "a = valohai.outputs().path('x'); valohai.prepare(step='train'); print(a == valohai.outputs().path('x'))",
    ),
    row(
        *("spawned", "workers of one run write into its folder", "False", "True"),
        "import multiprocessing\n"
        "def where(_): return os.path.abspath(valohai.paths.get_outputs_path())\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(where, [1]) == [where(1)])",
    ),
    row(
        *("import", "a script that downloads nothing need not load what downloads", "True", "False"),
        "print('requests' in sys.modules or 'jsonschema' in sys.modules)",
    ),
    # --- values
    Row(
        "file-leaves-out",
        "an old parameters.json must not unset what the code has since",
        *("None\nNone", "None\n5"),
        epochs(config={"parameters.json": {"other": 1}}),
    ),
    Row(
        "file-leaves-out-override",
        "and what it leaves out can still be set",
        *("None\nNone", "None\n7"),
        epochs("--epochs=7", config={"parameters.json": {"other": 1}}),
    ),
    Row(
        "file-type",
        "the code's type holds where the value has it exactly: range(5.0) is an error",
        *("None\n5.0", "None\n5"),
        epochs(config={"parameters.json": {"epochs": 5.0}}),
    ),
    Row(
        "no-default",
        "a required parameter may come from outside only",
        *("ValueError\nNone", "None\nNone"),
        epochs(default="{'type': 'integer'}"),
    ),
    Row("flag-words", "0, no and off are no yes", *("None\nTrue", "None\nFalse"), epochs("--epochs=0", default="True")),
    Row(
        "flag-wrong",
        "what is neither yes nor no is a mistake",
        *("None\nTrue", "SystemExit\nNone"),
        epochs("--epochs=flase", default="True"),
    ),
    Row(
        "list-types", "a list of numbers stays one", *("None\n['3', '4']", "None\n[3, 4]"), epochs("--epochs=3,4", default="[1]")
    ),
    Row(
        "list-repeat",
        "all that was said counts, as `multiple: repeat` passes it",
        *("None\n['b']", "None\n['a', 'b']"),
        epochs("--epochs=a", "--epochs=b", default="['x']"),
    ),
    Row("list-empty", "nothing is no empty text", *("None\n['']", "None\n[]"), epochs("--epochs=", default="['x']")),
    Row(
        "none-default",
        "None is text that may be missing",
        *("SystemExit\nNone", "None\nabc"),
        epochs("--epochs=abc", default="None"),
    ),
    Row(
        "scientific", "1e3 is an integer, and schedulers write it so", *("SystemExit\nNone", "None\n1000"), epochs("--epochs=1e3")
    ),
    Row(
        "abbreviation",
        "--epo may mean another option tomorrow; it is warned about, with the name that is close",
        *("None\n7", "None\n5"),
        epochs("--epoc=7"),
    ),
    row(
        *("help", "--help is the script's own", "SystemExit", "mine"),
        "show(lambda: valohai.prepare(step='s') or 'mine')",
        "--help",
    ),
    row(
        *("called-help", "no name is taken by somebody else's parser", "ArgumentError", "3"),
        "show(lambda: valohai.prepare(step='s', default_parameters={'help': 1}) or valohai.parameters('help').value)",
        "--help=3",
    ),
    row(
        *("hyphens", "the documentation itself says --learning-rate", "0.1 []", "0.5 ['b.txt']"),
        "valohai.prepare(step='s', default_parameters={'learning-rate': 0.1}, default_inputs={'training-set': []})\n"
        "print(valohai.parameters('learning-rate').value, names(valohai.inputs('training-set').paths()))",
        *("--learning-rate=.5", "--training-set=b.txt"),
        files={"b.txt": "b"},
    ),
    row(
        *("strange-values", "what cannot stand in valohai.yaml is refused where it is written", "{1}", "StepError"),
        "show(lambda: valohai.prepare(step='s', default_parameters={'a': {1}}) or valohai.parameters('a').value)",
    ),
    # --- inputs
    row(
        *("default", "a default that is given is meant", "None", "x.csv"),
        "valohai.prepare(step='s')\nprint(valohai.inputs('d', default='x.csv').path())",
    ),
    row(
        *("input-repeat", "all that was said counts", "['b.csv']", "['a.csv', 'b.csv']"),
        "valohai.prepare(step='s', default_inputs={'d': []})\nprint(names(valohai.inputs('d').paths()))",
        *("--d=a.csv", "--d=b.csv"),
        files={"a.csv": "", "b.csv": ""},
    ),
    row(
        *("inputs-file-leaves-out", "an old inputs.json must not take what the code has since", "[]", "['a.csv']"),
        "valohai.prepare(step='s', default_inputs={'d': 'a.csv'})\nprint(names(valohai.inputs('d').paths()))",
        files={"a.csv": ""},
        config={"inputs.json": {"other": {"files": []}}},
    ),
    row(
        *("recursive", "** is any depth, as everywhere in Python", "['b.txt']", "['a.txt', 'b.txt', 'c.txt']"),
        "valohai.prepare(step='s', default_inputs={'d': 'p/**/*.txt'})\nprint(names(valohai.inputs('d').paths()))",
        files={"p/a.txt": "", "p/x/b.txt": "", "p/x/y/c.txt": ""},
    ),
    row(
        *("folder", "a folder is the files in it", "ValueError", "['a.txt', 'b.txt']"),
        "valohai.prepare(step='s', default_inputs={'d': 'p'})\nshow(lambda: names(valohai.inputs('d').paths()))",
        files={"p/a.txt": "", "p/x/b.txt": ""},
    ),
    row(
        *("file-url", "file:// is this machine", "InvalidSchema", "here"),
        "valohai.prepare(step='s', default_inputs={'d': 'file://' + os.path.abspath('a.txt')})\n"
        "show(lambda: read(valohai.inputs('d').path()))",
        files={"a.txt": "here"},
    ),
    row(
        *("one-name", "two files are two files", "['one', 'one']", "['one', 'two']"),
        "valohai.prepare(step='s', default_inputs={'d': ['{url}/1/a.txt', '{url}/2/a.txt']})\n"
        "print([read(path) for path in valohai.inputs('d').paths()])",
        pages={"/1/a.txt": Page(b"one"), "/2/a.txt": Page(b"two")},
    ),
    row(
        *("changed-url", "another URL is another file", "one", "two"),
        "for n in '12':\n"
        "    valohai.prepare(step='s', default_inputs={'d': f'{url}/{n}/a.txt'})\n"
        "    last = read(valohai.inputs('d').path())\n"
        "print(last)",
        pages={"/1/a.txt": Page(b"one"), "/2/a.txt": Page(b"two")},
    ),
    row(
        *("server-hiccup", "one 503 in a night of training is no reason to end it", "HTTPError", "cats"),
        "valohai.prepare(step='s', default_inputs={'d': '{url}/a.txt'})\n"
        "try: print(read(valohai.inputs('d').path()))\n"
        "except Exception as error: print(type(error).__name__)",
        pages={"/a.txt": Page(b"cats", failures=[503])},
    ),
    row(
        *("checksum", "a file that is not the promised one is not used", "cats", "ChecksumError"),
        "try: print(read(valohai.inputs('d').path()))\nexcept Exception as error: print(type(error).__name__)",
        pages={"/a.txt": Page(b"cats")},
        config={"inputs.json": {"d": {"files": [{"name": "a.txt", "uri": "{url}/a.txt", "checksums": {"sha256": "0" * 64}}]}}},
    ),
    row(
        *("filter-first", "what the filter leaves out is not downloaded", "HTTPError", "['a.txt']"),
        "valohai.prepare(step='s', default_inputs={'d': ['{url}/a.txt', '{url}/gone.csv']})\n"
        "try: print(names(valohai.inputs('d').paths('*.txt')))\n"
        "except Exception as error: print(type(error).__name__)",
        pages={"/a.txt": Page(b"cats")},
    ),
    row(
        *("dropped-files", "the documentation says that one may put files there", "None", "a.txt"),
        "valohai.prepare(step='s', default_inputs={'d': []})\nshow(lambda: (names([valohai.inputs('d').path() or 'None']))[0])",
        files={".valohai/inputs/s/d/a.txt": "a"},
    ),
    row(
        *("no-match", "a pattern that matches nothing is more often a mistake than meant", "0", "1"),
        "valohai.prepare(step='s', default_inputs={'d': 'none/*.csv'})\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always'); list(valohai.inputs('d').paths())\n"
        "print(len(caught))",
    ),
    row(
        *("stdout", "stdout is the script's, and where its metrics are read from", "True", "False"),
        "import contextlib, io\nvalohai.prepare(step='s', default_inputs={'d': '{url}/a.txt'})\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out: list(valohai.inputs('d').paths())\nprint(bool(out.getvalue()))",
        pages={"/a.txt": Page(b"cats")},
    ),
    row(
        *("cut", "a connection that breaks is no reason to begin again, or to end", "ChunkedEncodingError", "200000"),
        "valohai.prepare(step='s', default_inputs={'d': '{url}/a.txt'})\nshow(lambda: len(read(valohai.inputs('d').path())))",
        pages={"/a.txt": Page(b"cats" * 50_000, cuts=[100_000])},
    ),
    row(
        *("one-name-for-two", "the names are compared where they are written", "ArgumentError", "StepError"),
        "show(lambda: valohai.prepare(step='s', default_parameters={'x': 1}, default_inputs={'x': 'a'}))",
    ),
    row(
        *("outputs-beside", "what lies outside the outputs is none, also where the names begin alike", "True", "OptionError"),
        "os.environ['VH_OUTPUTS_DIR'] = os.path.abspath('out')\n"
        "show(lambda: 'out-evil' in valohai.outputs(os.path.abspath('out-evil')).path('f', makedirs=False))",
    ),
    row(
        *("outputs-above", "nor is what lies above them", "True", "OptionError"),
        "os.environ['VH_OUTPUTS_DIR'] = os.path.abspath('out')\n"
        "show(lambda: '..' in valohai.outputs('../other').path('f', makedirs=False))",
    ),
    Row("filter-dot", "a dot is a dot", *("['a.txt', 'axtxt']", "['a.txt']"), filtered("a.txt")),
    Row("filter-whole", "the whole name has to match", *("['a.txt', 'axtxt', 'c.txt.bak']", "['a.txt']"), filtered("*.txt")),
    Row("filter-question", "? is one character", *("[]", "['a.txt', 'axtxt']"), filtered("a?txt")),
    row(
        *("zip-slip", "an archive writes nothing outside of its folder", "True", "False"),
        "valohai.prepare(step='s', default_inputs={'d': 'evil.zip'})\n"
        "try: list(valohai.inputs('d').paths())\nexcept Exception: pass\n"
        "print(any('out.txt' in files for _, _, files in os.walk('.')))",
        zips={"evil.zip": {"../out.txt": "evil"}},
    ),
    row(
        *("unpacked-once", "a second look at an archive is not a second unpacking", "False", "True"),
        "valohai.prepare(step='s', default_inputs={'d': 'a.zip'})\n"
        "a = os.stat(valohai.inputs('d').path()); open('wait', 'w').close()\n"
        "b = os.stat(valohai.inputs('d').path()); print((a.st_ino, a.st_mtime_ns) == (b.st_ino, b.st_mtime_ns))",
        zips={"a.zip": {"a.txt": "a" * 100_000}},
    ),
    row(
        *("tar-gz", "a tar.gz is an archive, too", "['a.tar.gz']", "['b.txt']"),
        "import tarfile\nwith tarfile.open('a.tar.gz', 'w:gz') as tar: tar.add('b.txt')\n"
        "valohai.prepare(step='s', default_inputs={'d': 'a.tar.gz'})\nprint(names(valohai.inputs('d').paths()))",
        files={"b.txt": "b"},
    ),
    # --- metrics and properties
    row(
        *("nan", "what reads the log reads JSON", '{"loss": NaN}', '{"loss": null}'),
        "with valohai.logger() as log: log.log(loss=float('nan'))",
    ),
    row(
        *("keys", "a metric by class is no reason to end a training", "TypeError", '{"f1": {"(1, 2)": 0.5}}'),
        "def go():\n    with valohai.logger() as log: log.log(f1={(1, 2): 0.5})\ntry: go()\nexcept TypeError: print('TypeError')",
    ),
    row(
        *("flush-logs", "the documentation mentions it", "AttributeError", "None"),
        "show(lambda: valohai.logger().flush_logs())",
    ),
    row(
        *("killed", "what was logged is out", "", '{"a": 1}'),
        "with valohai.logger() as log: log.log(a=1)\nos._exit(0)",
        variables={"PYTHONUNBUFFERED": ""},
    ),
    row(
        *(
            "no-folder",
            "properties are not lost for want of a folder",
            "FileNotFoundError",
            '{"file": "a", "metadata": {"b": 1}}',
        ),
        "def go():\n    with valohai.output_properties() as p: p.add(file='a', properties={'b': 1})\n"
        "try: go()\nexcept FileNotFoundError as e: print('FileNotFoundError')\nelse: print(read(valohai.paths.get_outputs_path() + '/valohai.metadata.jsonl').strip())",
    ),
    row(
        *(
            "corrupt-line",
            "one bad line must not cost the others",
            "JSONDecodeError\n{half",
            '{half\n{"file": "a", "metadata": {"b": 1}}',
        ),
        PROPERTIES + "open(valohai.paths.get_outputs_path() + '/valohai.metadata.jsonl', 'w').write('{half\\n')\n"
        "def go():\n    with valohai.output_properties() as p: p.add(file='a', properties={'b': 1})\n"
        "try: go()\nexcept ValueError as e: print(type(e).__name__)" + LINES,
    ),
    row(
        *(
            "strange-value",
            "one bad value must not cost the others",
            "TypeError\nFileNotFoundError",
            'PropertyError\n{"file": "a", "metadata": {}}\n{"file": "b", "metadata": {"c": 1}}',
        ),
        PROPERTIES + "def go():\n    with valohai.output_properties() as p:\n"
        "        p.add(file='a', properties={'b': object()}); p.add(file='b', properties={'c': 1})\n"
        "try: go()\nexcept TypeError as e: print(type(e).__name__)" + LINES,
    ),
    row(
        *(
            "dataset-object",
            "the documented form of a dataset's version works",
            "TypeError",
            "Created dataset version 'dataset://d/1' with 1 files",
        ),
        PROPERTIES
        + "def go():\n    with valohai.output_properties() as p: p.add_to_dataset(file='a', dataset_version={'uri': 'dataset://d/1'})\n"
        "try: go(); p = valohai.output_properties(); p.add_to_dataset(file='a', dataset_version={'uri': 'dataset://d/1'})\n"
        "except TypeError: print('TypeError')",
    ),
    row(
        *("two-writers", "neither loses what it wrote", "1", "2"),
        PROPERTIES + "with valohai.output_properties() as a:\n"
        "    a.add(file='a', properties={'n': 1})\n"
        "    with valohai.output_properties() as b: b.add(file='b', properties={'n': 2})\n"
        "print(len(read(valohai.paths.get_outputs_path() + '/valohai.metadata.jsonl').splitlines()))",
    ),
    row(
        *("config-error", "a file that cannot be read is named", "False", "True"),
        "try: valohai.execution().config\nexcept ValueError as error: print('execution.json' in str(error))",
        config={"execution.json": "{half"},
    ),
]


@pytest.mark.parametrize("found", ROWS, ids=lambda found: found.topic)
def test_a_finding(found: Row, tmp_path: Path, site: Site) -> None:
    for ours, expected in ((False, found.then), (True, found.now)):
        out, err = found.scene.played(tmp_path / str(ours), site, ours=ours)
        # The other one prints its progress there, too: what the script itself has to say comes last.
        said = "\n".join(out.splitlines()[-max(len(expected.splitlines()), 1) :])
        assert said == expected, f"{found.why}\n{out}\n{err}"


def test_topics_are_named_once() -> None:
    assert len({found.topic for found in ROWS}) == len(ROWS)
