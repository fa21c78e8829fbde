"""Installs runkit with all that its tests need into ``.venv``, and says what happens; knows nothing but pip.

What pip says of each package becomes one line every few seconds, without the addresses that it fetches from.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / "bin" / "python"
# Files are compiled when they are first imported, since most of them never are: half of the work of pip.
PIP = ("-m", "pip", "install", "--no-compile", "--no-input", "--disable-pip-version-check")
CONSTRAINTS = ("--constraint", str(ROOT / "constraints.txt"))
SECONDS_BETWEEN_LINES = 4.0
_ADDRESS = re.compile(r"[\w+]+://\S+|(?<![\w.])/\S+")
_COLLECTED = re.compile(r"^ *(?:Collecting |Processing (?:\S*/)?)([A-Za-z0-9_.]+(?:-[A-Za-z][\w.]*)*)", re.M)
_INSTALLING = re.compile(r"^Installing collected packages: (.+)$", re.M)


def main() -> int:
    """Make the environment in three steps; return 0, or what failed ended with."""
    if sys.version_info < (3, 11):  # noqa: UP036  # says so before pip does, and names the way out
        print("runkit needs Python 3.11 or newer; run make PYTHON=python3.11")
        return 1
    say("1 of 3: an environment in .venv")
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    # torch alone and first: an exact version lets pip take a CPU build where one is at hand.
    say("2 of 3: torch, the largest package")
    status = installed([*CONSTRAINTS, "torch==2.13.0"])
    if status == 0:
        say("3 of 3: runkit, what it needs, and what its tests need")
        status = installed([*CONSTRAINTS, "--editable", f"{ROOT}[dev]"])
    say("done" if status == 0 else f"failed: pip ended with exit status {status}")
    return status


def say(text: str) -> None:
    """Print a line at once, into a pipe too."""
    print(f"install {text}", flush=True)


def installed(arguments: list[str]) -> int:
    """Let pip install *arguments* and tell of its progress; return its exit status."""
    path = FOLDER / "pip.log"
    with path.open("w") as log:
        process = subprocess.Popen([str(PYTHON), *PIP, *arguments], stdout=log, stderr=subprocess.STDOUT)
    before = ""
    while True:
        try:
            status = process.wait(SECONDS_BETWEEN_LINES)
            break
        except subprocess.TimeoutExpired:
            now = progress(path.read_text(errors="replace"), _packages_in(FOLDER))
            if now != before:
                say(f"        {now}")
            before = now
    if status != 0:
        lines = path.read_text(errors="replace").splitlines()
        print("\n".join(without_addresses(line) for line in lines[-30:]))
    return status


def progress(said: str, present: frozenset[str]) -> str:
    """Return how far pip is that *said* this, where the packages *present* are installed already."""
    installing = _INSTALLING.search(said)
    if installing is not None:
        names = [normal(name) for name in installing[1].split(", ")]
        return f"installed {sum(name in present for name in names)} of {len(names)} packages"
    names = [normal(name) for name in _COLLECTED.findall(said)]
    return f"found {len(names)} packages, the latest {names[-1]}" if names else "pip begins"


def without_addresses(line: str) -> str:
    """Return *line* without addresses and paths."""
    return _ADDRESS.sub("...", line)


def normal(name: str) -> str:
    """Return a package's *name* as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages_in(folder: Path) -> frozenset[str]:
    found = folder.glob("lib/python*/site-packages/*.dist-info")
    return frozenset(normal(path.name.split("-")[0]) for path in found)


if __name__ == "__main__":
    sys.exit(main())
