"""What a file may do to the variables of the environment, and to IPython's shell, as far as its words tell."""

from __future__ import annotations

import ast
import functools
from typing import Final

from vhpack.yaml import notebook

_READING: Final = frozenset({"get", "items", "keys", "values", "copy"})
_SETTING: Final = frozenset({"setdefault", "pop"})
_COPYING: Final = frozenset({"dict", "len", "print", "sorted", "list", "tuple", "set", "str", "repr", "bool"})
_FUNCTIONS: Final = frozenset({"putenv", "unsetenv"})
_WORDS: Final = frozenset({"environ", "environb"}) | _FUNCTIONS
# What runs any Python, or has the names of a module.
_OTHERS: Final = frozenset({"exec", "eval", "globals", "get_ipython"})
_SHELL: Final = frozenset({"system", "getoutput"})


def environment_of(body: list[ast.stmt]) -> set[str] | None:
    """Return the variables of the environment that a file may set anywhere; None: any.

    Only plain reads, and settings of constant names, count as such; whatever else has the environment may set any.
    """
    tree = ast.Module(body, [])
    around = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    bound = {node.id for node in around if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.name for node in around if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    bound |= {node.arg for node in around if isinstance(node, ast.arg)}
    bound |= {node.asname or node.name for node in around if isinstance(node, ast.alias)}
    found: set[str] = set()
    for node in around:
        if isinstance(node, ast.alias):
            if node.name in _WORDS | _OTHERS and node.asname not in (None, node.name):
                return None
            continue
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and node.value in _WORDS:
                return None
            continue
        word = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if word in _OTHERS and not _is_quiet(node, around):
            return None
        if word in _WORDS:
            names = _set_by(node, word, around, _COPYING - bound)
            if names is None:
                return None
            found |= names
    return found


def _is_quiet(node: ast.AST, around: dict[ast.AST, ast.AST]) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in ("eval", "exec")  # a method of something, as a model's
    for _ in range(3):
        node = around.get(node, node)
        if quiet_shell(node):
            return True
    return False


def _set_by(node: ast.AST, word: str, around: dict[ast.AST, ast.AST], copying: frozenset[str]) -> set[str] | None:
    """Return the variables that one mention of the environment sets."""
    user = around[node]
    if word in _FUNCTIONS:
        return _first_of(user) if isinstance(user, ast.Call) and user.func is node else None
    if isinstance(user, ast.Subscript) and user.value is node:
        name = user.slice
        reads = isinstance(user.ctx, ast.Load)
        return set() if reads else {str(name.value)} if isinstance(name, ast.Constant) else None
    if isinstance(user, ast.Attribute):
        call = around[user]
        if user.attr in _SETTING:
            return _first_of(call) if isinstance(call, ast.Call) and call.func is user else None
        return set() if user.attr in _READING else None
    return set() if _only_reads(user, node, around, copying) else None


def _only_reads(user: ast.AST, node: ast.AST, around: dict[ast.AST, ast.AST], copying: frozenset[str]) -> bool:
    if isinstance(user, ast.Call):
        return user.func is not node and isinstance(user.func, ast.Name) and user.func.id in copying
    if isinstance(user, ast.keyword):
        call = around[user]
        package = call.func.value if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else None
        return user.arg is None or (user.arg == "env" and isinstance(package, ast.Name) and package.id == "subprocess")
    if isinstance(user, ast.Dict):
        return node not in user.keys and user.keys[user.values.index(node)] is None  # type: ignore[arg-type]
    loops = isinstance(user, ast.For | ast.comprehension) and user.iter is node
    return loops or isinstance(user, ast.Compare | ast.BinOp | ast.FormattedValue | ast.Starred | ast.Expr)


def _first_of(call: ast.Call) -> set[str] | None:
    first = call.args[0] if call.args else None
    return {str(first.value)} if isinstance(first, ast.Constant) else None


def quiet_shell(node: ast.AST) -> bool:
    """Say whether this is a use of `get_ipython()` that sets no name and no variable: `get_ipython().system("ls")`.

    Example:
        >>> import ast
        >>> from vhpack.yaml.environments import quiet_shell
        >>> uses = ["run_line_magic('cd', 'x')", "run_line_magic('run', 'x.py')", "system('ls')"]
        >>> [quiet_shell(ast.parse(f"get_ipython().{use}").body[0].value) for use in uses]
        [True, False, True]
    """
    used = node.func if isinstance(node, ast.Call) else node
    if not isinstance(used, ast.Attribute) or not _is_shell(used.value):
        return False
    if not isinstance(node, ast.Call):
        return used.attr == "__class__"
    texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]
    if len(texts) != len(node.args) or not texts or node.keywords:
        return False
    if used.attr in _SHELL:
        said = f"!{texts[0]}"
    elif used.attr in ("run_line_magic", "magic"):
        said = f"%{' '.join(texts)}"
    elif used.attr == "run_cell_magic" and len(texts) == 3:  # noqa: PLR2004
        said = f"%%{texts[0]} {texts[1]}\n{texts[2]}"
    else:
        return False
    return _is_nothing(said)


@functools.lru_cache(maxsize=1024)
def _is_nothing(said: str) -> bool:
    """Say whether a cell does nothing to names; asked again each time that a function with it is called."""
    return notebook.python(said).strip() in ("", "pass")


def _is_shell(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_ipython" and not node.args
