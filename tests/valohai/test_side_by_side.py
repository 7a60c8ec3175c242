"""The same script, the same arguments, the same values: under valohai-utils and under vhpack in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.valohai.scripts import Scene
from tests.valohai.servers import Page, Site

PARAMETERS = """
valohai.prepare(step="train", default_parameters={
    "rate": 0.001, "epochs": 5, "name": "a", "fast": False, "slow": True, "tags": ["x", "y"], "spec": {"default": 7, "min": 1}})
for name in "rate epochs name fast slow tags spec unknown".split():
    value = valohai.parameters(name).value
    print(name, type(value).__name__, value)
print(valohai.parameters("unknown", 3).value, valohai.parameters("epochs", 3).value)
"""
INPUTS = """
valohai.prepare(step="train", image="i", environment="e", default_inputs={
    "one": "a.csv", "all": "*.csv", "several": ["d/c.csv", "a.csv"], "zip": "z.zip", "spec": {"default": "a.csv"}, "none": []})
for name in "one all several zip spec none unknown".split():
    print(name, sorted(names(valohai.inputs(name).paths())), [len(stream.read()) for stream in valohai.inputs(name).streams()][:1])
    print(valohai.inputs(name).path(default="x") and os.path.basename(valohai.inputs(name).path(default="x")))
print(names(valohai.inputs("zip").paths(process_archives=False)), names(valohai.inputs("zip").paths("**/*.txt")))
print(names(valohai.inputs("zip").paths("")), names(valohai.inputs("zip").paths("d/*")), valohai.inputs("unknown").path(), valohai.inputs("unknown").stream())
print(os.path.abspath(valohai.inputs("one").dir_path()))
"""
FILES = {"a.csv": "a", "b.csv": "bb", "d/c.csv": "ccc"}
ZIPS = {"z.zip": {"b.txt": "b", "d/c.txt": "cc", "d/": ""}}

LISTED = {
    "one": {"files": [{"name": "b.csv", "path": "b.csv", "uri": "datum://1", "size": 2, "checksums": {}, "metadata": []}]},
    "more": {"files": [{"name": "d/c.csv", "path": "d/c.csv"}, {"name": "a.csv", "path": "a.csv"}]},
}
MEMBERS = [
    {
        "announce_time": "t",
        "identity": "i",
        "job_id": "j",
        "member_id": str(number),
        "network": {"exposed_ports": {"1": "2"}, "local_ips": [f"10.0.0.{number}"], "public_ips": [f"1.1.1.{number}"]},
    }
    for number in (10, 9, 0)
]

SCENES = {
    "defaults": Scene(PARAMETERS),
    "command-line": Scene(
        PARAMETERS,
        ("--rate=.5", "--epochs", "7", "--name=b", "--fast", "--slow=false", "--tags=p,q", "--spec=9"),
    ),
    "file": Scene(
        PARAMETERS,
        config={
            "parameters.json": {
                "rate": 0.5,
                "epochs": 7,
                "name": "b",
                "fast": True,
                "slow": False,
                "tags": ["p"],
                "spec": 1,
                "unknown": "u",
            }
        },
    ),
    "line-over-file": Scene(
        PARAMETERS,
        ("--epochs=9", "--name", "c"),
        config={
            "parameters.json": {
                "rate": 0.5,
                "epochs": 7,
                "name": "b",
                "fast": True,
                "slow": False,
                "tags": [],
                "spec": 1,
                "unknown": None,
            }
        },
    ),
    "wrong-value": Scene(
        "try: valohai.prepare(step='s', default_parameters={'a': 1})\nexcept SystemExit as ended: print(ended.code)", ("--a=x",)
    ),
    "positional": Scene("show(lambda: valohai.prepare('train'))"),
    "without-prepare": Scene(
        "print(valohai.parameters('a').value, valohai.parameters('b', 3).value, names(valohai.inputs('c').paths()))",
        config={"parameters.json": {"a": 1}, "inputs.json": {"c": {"files": [{"name": "b.csv", "path": "b.csv"}]}}},
        files=FILES,
    ),
    "without-prepare-line": Scene(
        "print(valohai.parameters('a').value, valohai.parameters('b').value, names(valohai.inputs('c').paths()))",
        ("--a=7", "--c", "a.csv"),
        config={"parameters.json": {"a": 1, "b": 2}, "inputs.json": {"c": {"files": [{"name": "b.csv", "path": "b.csv"}]}}},
        files=FILES,
    ),
    "inputs": Scene(INPUTS, files=FILES, zips=ZIPS),
    "inputs-line": Scene(INPUTS, ("--one", "b.csv", "d/c.csv", "--all=d/*.csv"), files=FILES, zips=ZIPS),
    "inputs-file": Scene(
        "valohai.prepare(step='s', default_inputs={'one': 'a.csv', 'more': []})\n"
        "for name in ('one', 'more'): print([os.path.abspath(path) for path in valohai.inputs(name).paths()])\n"
        "print(names(valohai.inputs('more').paths('d/*')))",
        config={"inputs.json": LISTED},
        files=FILES,
    ),
    "download": Scene(
        "valohai.prepare(step='s', default_inputs={'d': ['{url}/x/a.txt?sig=1', '{url}/b.txt']})\n"
        "print()\nfound = list(valohai.inputs('d').paths())\n"
        "print([os.path.relpath(path) for path in found], [read(path) for path in found])",
        pages={"/x/a.txt": Page(b"one"), "/b.txt": Page(b"two")},
    ),
    "outputs": Scene(
        "valohai.prepare(step='s')\nout = valohai.outputs('images')\n"
        "for name in 'ab': open(out.path(f'{name}.png'), 'w').write(name)\n"
        "made = out.compress('*.png', 'all.zip')\nimport zipfile\n"
        "print(os.path.basename(made), sorted(zipfile.ZipFile(made).namelist()), os.listdir(os.path.dirname(made)))\n"
        "print(os.path.relpath(out.path('x'), valohai.outputs().dir_path), out.path('/abs', makedirs=False))"
    ),
    "flat-outputs": Scene(
        "print(os.path.abspath(valohai.outputs('a').path('b')))",
        variables={"VH_FLAT_LOCAL_OUTPUTS": "1"},
    ),
    "in-a-job": Scene(
        "from valohai import paths\n"
        "print(paths.get_config_path(), paths.get_inputs_path(), paths.get_inputs_path('a'), paths.get_outputs_path())\n"
        "print(paths.get_repository_path(), paths.get_inputs_config_path(), paths.get_parameters_config_path())\n"
        "print(paths.get_distributed_config_path(), paths.get_api_config_path(), valohai.inputs('x').dir_path())\n"
        "from valohai.config import is_running_in_valohai; print(is_running_in_valohai())",
        variables={"VH_JOB_ID": "1"},
    ),
    "variables": Scene(
        "from valohai import paths\nprint(paths.get_config_path(), paths.get_inputs_path('a'), paths.get_outputs_path())",
        variables={"VH_CONFIG_DIR": "/c", "VH_INPUTS_DIR": "/i", "VH_OUTPUTS_DIR": "/o", "VH_JOB_ID": ""},
    ),
    "logger": Scene(
        "for epoch in range(3):\n    with valohai.logger() as log:\n"
        "        log.log('epoch', epoch, 'ä', 'ö')\n        log.log(loss=0.1 * epoch, path=os.sep, none=None, nested={'a': [1, 2.5]})\n"
        "log = valohai.metadata.logger()\nlog.flush(); log.log(1, {2}); log.flush(); log.flush()\nshow(lambda: log.log('odd'))"
    ),
    "logger-deployed": Scene("log = valohai.logger(); log.log(a=1); log.flush()", variables={"VALOHAI_PORT": "1"}),
    "properties": Scene(
        "os.makedirs(valohai.paths.get_outputs_path())\nfor turn in range(2):\n"
        "    with valohai.output_properties() as p:\n"
        "        p.add(file='a.txt', properties={'turn': turn, 'valohai.tags': ['x']})\n"
        "        p.add_to_dataset(file='b.txt', dataset_version=p.dataset_version_uri('d', 'v'))\n"
        "        p.add(file=f'{turn}.txt', properties={'ä': 'ö', 'valohai.alias': 'n'})\n"
        "print(sorted(read(valohai.paths.get_outputs_path() + '/valohai.metadata.jsonl').splitlines()))"
    ),
    "execution": Scene(
        "found = valohai.execution().config\nprint(found.counter, found.id, found.title)",
        config={
            "execution.json": {
                "valohai.execution-counter": 3,
                "valohai.execution-id": "i",
                "valohai.execution-title": "t",
                "x": 1,
            }
        },
    ),
    "no-execution": Scene("print(valohai.execution().config)\nvalohai.set_status_detail('nobody there')"),
    "distributed": Scene(
        "d = valohai.distributed\nprint(d.is_distributed_task(), d.group_name, d.member_id, d.rank, d.required_count)\n"
        "for m in [*d.members(), d.me(), d.master()]: print(m.rank, m.is_master, m.primary_local_ip, m.primary_public_ip, m.job_id)\n"
        "try: d.member('7')\nexcept RuntimeError as error: print(error)\nd.flush_state()",
        config={"distributed.json": {"config": {"group_name": "g", "member_id": "9", "required_count": 3}, "members": MEMBERS}},
    ),
    "not-distributed": Scene("print(valohai.distributed.is_distributed_task())\nshow(lambda: valohai.distributed.group_name)"),
    "status": Scene(
        "valohai.set_status_detail('half way')",
        config={
            "api.json": {"set_status_detail": {"url": "{url}/status", "method": "POST", "headers": {"Authorization": "Token t"}}}
        },
        pages={"/status": Page(b"{}")},
    ),
    "status-refused": Scene(
        "import warnings\nwith warnings.catch_warnings(record=True) as caught:\n    warnings.simplefilter('always')\n"
        "    valohai.set_status_detail('half way')\nprint(len(caught), str(caught[0].message)[:26])",
        config={"api.json": {"set_status_detail": {"url": "{url}/status", "method": "POST"}}},
        pages={"/status": Page(b"no", status=403)},
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_both_say_the_same(name: str, tmp_path: Path, site: Site) -> None:
    said, asked = [], []
    for ours in (False, True):
        folder = tmp_path / str(ours)
        out, err = SCENES[name].played(folder, site, ours=ours)
        assert "Traceback" not in err, err
        lines = [line for line in out.replace(str(folder), "HERE").splitlines() if not line.startswith(("Downloading", "Using"))]
        said.append(lines)
        asked.append(
            [(each.method, each.path, each.headers["Authorization"], each.body and json.loads(each.body)) for each in site.asked]
        )
        site.asked.clear()
    assert said[1] == said[0]
    assert sorted(map(repr, asked[1])) == sorted(map(repr, asked[0]))
