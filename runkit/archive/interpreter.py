"""The Python that a program runs under, which is seldom runkit's own: which one it is, and its packages.

It is told from the program's file where that is a Python or begins with the name of one (console scripts),
and else from the processes that the program starts, as with ``bash job.sh`` or ``uv run``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runkit.archive.processes import arguments_of, descendants, environment_of, executable_of, folder_of

_PYTHON = re.compile(r"(python|pypy)[\d.]*(-dbg|t|d)?")
_BRINGERS = frozenset(
    {
        "conda", "mamba", "micromamba", "poetry", "pipenv", "pdm", "hatch", "hatchling", "pixi", "rye", "uv",
        "uvx", "nox", "tox", "pipx", "virtualenv", "__main__.py",
    }
)  # fmt: skip
"""Programs that are written in Python themselves, or may be, and start the user's under another one."""
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.005, 2.0
_TIMEOUT_SECONDS = 20
_ASK = """
import os, sys, site
wanted = sys.argv[1:]
def path_lines_only(folder, name, known):
    try:
        with open(os.path.join(folder, name), encoding="utf-8-sig", errors="replace") as lines:
            for line in lines:
                line = line.strip()
                path = os.path.join(folder, line)
                if line and not line.startswith(("#", "import ", "import\\t")) and os.path.exists(path):
                    if path not in sys.path:
                        sys.path.append(path)
    except OSError:
        pass
site.addpackage = path_lines_only
site.execsitecustomize = site.execusercustomize = lambda: None
site.main()
import json
from importlib import metadata
search = list(sys.path)
is_closed = sys.prefix != sys.base_prefix and site.PREFIXES == [sys.prefix]
if "user" in wanted and not is_closed and os.path.isdir(site.getusersitepackages()):
    search.insert(0, site.getusersitepackages())
search = [path for path in wanted if os.path.isabs(path)] + search
packages = {}
for one in metadata.distributions(path=search):
    name = one.metadata["Name"]
    if name and name not in packages:
        packages[name] = one.version or "unknown"
print(json.dumps({"python_version": sys.version.split()[0], "packages": packages}))
"""
"""Asks for versions. Runs no code of the environment: no ``.pth`` line that imports, no sitecustomize."""


class Interpreter(NamedTuple):
    """A Python, and what its search for packages depends on."""

    path: str
    environment: Mapping[str, str]
    cwd: str


@dataclass(frozen=True)
class InterpreterPackages:
    """What a Python has installed, or why that is not known."""

    python_version: str | None
    packages: Mapping[str, str]
    missing_because: str | None


def named_interpreter(
    program: str, argv: Sequence[str], environment: Mapping[str, str]
) -> Interpreter | None:
    """Return the Python that *program* runs under as far as its file says it, or None.

    Args:
        program: Path of the file that is started.
        argv: Its name as typed, and its arguments.
    """
    cwd = str(Path.cwd())
    if Path(program).name == "env":
        return _after_env(argv, environment)
    path = None if _brings_another(argv) else _named_in(program, environment)
    return Interpreter(path, environment, cwd) if path is not None else None


def seen_interpreter(pid: int, ended: threading.Event) -> Interpreter | None:
    """Return the first Python among process *pid* and what it starts, or None when it ended without one."""
    wait_seconds = _FIRST_LOOK_SECONDS
    while True:
        for one in (pid, *descendants(pid)):
            found = _running_python(one)
            if found is not None:
                return found
        if ended.wait(wait_seconds):
            return None
        wait_seconds = min(2 * wait_seconds, _LAST_LOOK_SECONDS)


def packages_of(interpreter: Interpreter) -> InterpreterPackages:
    """Return what *interpreter* has installed: it is asked, in isolation, and writes nothing."""
    environment = interpreter.environment
    isolated = environment.get("PYTHONNOUSERSITE", "") != ""
    more = [
        str(Path(interpreter.cwd, entry))
        for entry in environment.get("PYTHONPATH", "").split(os.pathsep)
        if entry
    ]
    command = [interpreter.path, "-I", "-S", "-B", "-c", _ASK, *([] if isolated else ["user"]), *more]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=_TIMEOUT_SECONDS, check=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        packages = dict(sorted(answer["packages"].items(), key=lambda pair: pair[0].lower()))
        return InterpreterPackages(answer["python_version"], packages, None)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        because = lines[-1] if lines else f"exit status {error.returncode}"
    except subprocess.TimeoutExpired:
        because = f"no answer within {_TIMEOUT_SECONDS} s"
    except (OSError, ValueError, KeyError, TypeError) as error:
        because = str(error)
    return InterpreterPackages(None, {}, f"{interpreter.path} could not be asked for its packages: {because}")


def _after_env(argv: Sequence[str], environment: Mapping[str, str]) -> Interpreter | None:
    """Return the Python that ``env NAME=VALUE program`` starts; with options it is left to be seen."""
    changed = dict(environment)
    for place, argument in enumerate(argv[1:], start=1):
        name, equals, value = argument.partition("=")
        if argument.startswith("-"):
            return None
        if not equals:
            program = shutil.which(argument, path=changed.get("PATH"))
            return named_interpreter(program, argv[place:], changed) if program else None
        changed[name] = value
    return None


def _named_in(program: str, environment: Mapping[str, str]) -> str | None:
    try:
        with Path(program).open("rb") as file:
            head = file.read(1024)
    except OSError:
        return None
    if head.startswith(b"\x7fELF"):
        return str(Path(program).absolute()) if _PYTHON.fullmatch(Path(program).name) else None
    if not head.startswith(b"#!") or Path(program).name in _BRINGERS:
        return None
    first, _, rest = os.fsdecode(head).partition("\n")
    words = first[2:].split()
    if words and Path(words[0]).name == "env":
        names = [word for word in words[1:] if word != "-S" and "=" not in word]
        words = [shutil.which(names[0], path=environment.get("PATH")) or ""] if names else []
    elif words and Path(words[0]).name == "sh":
        # What pip writes where the path of the Python is too long, or has a space in it.
        trampoline = re.match(r"'''exec' (?:\"([^\"]+)\"|(\S+)) \"\$0\"", rest)
        words = [trampoline[1] or trampoline[2]] if trampoline else []
    return words[0] if words and _PYTHON.fullmatch(Path(words[0]).name) else None


def _running_python(pid: int) -> Interpreter | None:
    executable = executable_of(pid)
    if executable is None or not _PYTHON.fullmatch(Path(executable).name):
        return None
    arguments, environment, cwd = arguments_of(pid), environment_of(pid), folder_of(pid) or "/"
    if not arguments or _brings_another(arguments):
        return None
    name = arguments[0]
    candidates = [str(Path(cwd, name)) if "/" in name else shutil.which(name, path=environment.get("PATH"))]
    candidates += [
        str(Path(environment[variable], "bin", "python"))
        for variable in ("VIRTUAL_ENV", "CONDA_PREFIX")
        if variable in environment
    ]
    for path in (*candidates, executable):
        if path is not None and os.path.realpath(path) == os.path.realpath(executable):
            return Interpreter(path, environment, cwd)
    return None


def _brings_another(arguments: Sequence[str]) -> bool:
    """Return whether a Python with these *arguments* is one of the tools that start the user's own."""
    for place, argument in enumerate(arguments[1:], start=1):
        if argument == "-m":
            return arguments[place + 1 : place + 2] != [] and arguments[place + 1] in _BRINGERS
        if not argument.startswith("-"):
            return Path(argument).name in _BRINGERS
        if argument == "-c":
            return False
    return False
