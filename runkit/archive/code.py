"""The code that a run ran: its commit, and what differed from it, kept so that it can be put together again.

The repository is only read. What proves that the kept difference re-applies, a second index and its
objects, lies in a folder of its own.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from runkit.archive.environment import may_be_secret
from runkit.archive.writing import write_atomically
from runkit.records.manifest import Code

CODE_FOLDER = "code"
DIFF_FILE = f"{CODE_FOLDER}/changes.diff"
UNTRACKED_FILE = f"{CODE_FOLDER}/untracked.tar"
MAX_BYTES = 16 << 20
"""Of the diff, and of all untracked files together."""
_NOT_A_CHECKOUT = "the code does not run from a git checkout"
_SECRET_FILES = (
    ".env",
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    "id_rsa",
    "id_ed25519",
    ".netrc",
    ".npmrc",
    ".pypirc",
)
_TIMEOUT_SECONDS = 60
_MOST_NAMED = 40


def captured_code(folder: Path, *, run_folder: Path | None = None, max_bytes: int = MAX_BYTES) -> Code:
    """Return the state of the git checkout around *folder*.

    Args:
        run_folder: Where the difference to the commit is kept, below ``code/``; None: it is not kept.
        max_bytes: What is larger is left out and named; so are files whose names say that they hold secrets.
    """
    top = _text(folder, "rev-parse", "--show-toplevel")
    commit = _text(folder, "rev-parse", "--verify", "HEAD^{commit}")
    if top is None or commit is None:
        return Code(git_commit=None, is_dirty=None, missing_because=_NOT_A_CHECKOUT)
    root = Path(top)
    changes = _bytes(
        root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=none"
    )
    if changes is None:
        return Code(git_commit=commit, is_dirty=None, missing_because="git status failed")
    if not changes:
        return Code(git_commit=commit, is_dirty=False, missing_because=None)
    if run_folder is None:
        return Code(git_commit=commit, is_dirty=True, missing_because=None)
    return _kept(root, commit, run_folder, max_bytes)


def _kept(root: Path, commit: str, run_folder: Path, max_bytes: int) -> Code:
    kept: list[str] = []
    left_out: list[str] = []
    diff = _bytes(
        root, "-c", "core.quotePath=true", "-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false",
        "diff", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames",
        "--ignore-submodules=none", "HEAD",
    )  # fmt: skip
    reapplies: bool | None = None
    if diff is None:
        left_out.append("tracked changes: git diff failed")
    elif len(diff) > max_bytes:
        left_out.append(f"tracked changes: {len(diff)} bytes of diff are more than {max_bytes}")
    else:
        if diff:
            _write(run_folder / DIFF_FILE, diff)
            kept.append(DIFF_FILE)
        reapplies = _reapplies(root, diff)
        left_out += _dirty_submodules(root)
    archive = _untracked(root, run_folder, max_bytes, left_out)
    if archive is not None:
        _write(run_folder / UNTRACKED_FILE, archive)
        kept.append(UNTRACKED_FILE)
    if not diff and diff is not None and archive is None and not left_out:
        return Code(git_commit=commit, is_dirty=False, missing_because=None)
    because = f"NOT KEPT: {'; '.join(_first(left_out))}" if left_out else None
    return Code(
        git_commit=commit,
        is_dirty=True,
        missing_because=because,
        changes=tuple(kept),
        left_out=tuple(_first(left_out)),
        reapplies=reapplies,
    )


def _first(left_out: Sequence[str]) -> list[str]:
    num_more = len(left_out) - _MOST_NAMED
    return [*left_out[:_MOST_NAMED], *([f"and {num_more} more files"] if num_more > 0 else [])]


def _reapplies(root: Path, diff: bytes) -> bool:
    """Return whether the commit and *diff* give the tree that the tracked files are now."""
    objects = _text(root, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    if objects is None:
        return False
    with tempfile.TemporaryDirectory(prefix="runkit-code-") as place:
        Path(place, "objects").mkdir()
        shared = {"GIT_OBJECT_DIRECTORY": f"{place}/objects", "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects}
        rebuilt = {**shared, "GIT_INDEX_FILE": f"{place}/rebuilt"}
        present = {**shared, "GIT_INDEX_FILE": f"{place}/present"}
        for environment in (rebuilt, present):
            if _bytes(root, "read-tree", "HEAD", environment=environment) is None:
                return False
        if diff and _bytes(root, "apply", "--cached", "-", environment=rebuilt, stdin=diff) is None:
            return False
        added = _added_files(root)
        for arguments in (("add", "--update", "--", ":/"), *((("add", "--", *added),) if added else ())):
            if _bytes(root, *arguments, environment=present) is None:
                return False
        trees = [_bytes(root, "write-tree", environment=environment) for environment in (rebuilt, present)]
        return trees[0] is not None and trees[0] == trees[1]


def _added_files(root: Path) -> list[str]:
    """Return files that are staged and not in the commit; an update of its index would not see them."""
    listing = (
        _bytes(root, "diff", "--cached", "--name-only", "--diff-filter=A", "--no-renames", "-z", "HEAD")
        or b""
    )
    names = [os.fsdecode(name) for name in listing.split(b"\0") if name]
    return [f":(top,literal){name}" for name in names if (root / name).exists() or (root / name).is_symlink()]


def _dirty_submodules(root: Path) -> list[str]:
    if not (root / ".gitmodules").is_file():
        return []
    listing = (
        _bytes(
            root,
            "submodule",
            "foreach",
            "--quiet",
            'git status --porcelain | head -c1 | grep -q . && echo "$sm_path" || true',
        )
        or b""
    )
    return [
        f"{os.fsdecode(name)}: changes inside a submodule" for name in listing.splitlines() if name.strip()
    ]


def _untracked(root: Path, run_folder: Path, max_bytes: int, left_out: list[str]) -> bytes | None:
    """Return a tar archive of the untracked files of *root*, equal bytes for equal files, or None."""
    listing = _bytes(root, "ls-files", "--others", "--exclude-standard", "-z") or b""
    names = sorted(os.fsdecode(name) for name in listing.split(b"\0") if name)
    other_runs = run_folder.parent.resolve()
    buffer, num_bytes, num_files = io.BytesIO(), 0, 0
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            path = root / name
            shown = name.encode(errors="backslashreplace").decode()
            if path.resolve().is_relative_to(other_runs):
                continue
            if (
                path.name.startswith(_SECRET_FILES)
                or path.name.endswith(_SECRET_FILES)
                or may_be_secret(path.name)
            ):
                left_out.append(f"{shown}: its name says that it may hold a secret")
                continue
            if path.is_symlink() or not path.is_file():
                left_out.append(f"{shown}: no regular file")
                continue
            try:
                size_bytes = path.stat().st_size
                if num_bytes + size_bytes > max_bytes:
                    left_out.append(
                        f"{shown}: {size_bytes} bytes, and untracked files may have {max_bytes} in all"
                    )
                    continue
                content = path.read_bytes()
            except OSError as error:
                left_out.append(f"{shown}: {error.strerror}")
                continue
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(member, io.BytesIO(content))
            num_bytes, num_files = num_bytes + len(content), num_files + 1
    return buffer.getvalue() if num_files else None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def _text(folder: Path, *arguments: str) -> str | None:
    output = _bytes(folder, *arguments)
    return os.fsdecode(output).strip() if output is not None else None


def _bytes(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> bytes | None:
    """Return what git prints in *folder*, or None when it cannot be run or fails."""
    command: Sequence[str] = ("git", "-C", str(folder), *arguments)
    settings = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(environment or {})}
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=_TIMEOUT_SECONDS, check=True, env=settings
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
