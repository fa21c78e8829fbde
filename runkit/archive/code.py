"""The code that a run ran: its commit, and what differed from it, kept so that it can be put together again.

The repository is only read, and no program that it names is run. What proves that the kept difference
re-applies, a second index and its objects, lies in a folder of its own.

What is no code is passed over: what runkit itself writes, and the caches and outputs of well-known tools.
What holds a secret, or may hold one by its name, is left out and named; so is what is too large.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

from runkit.archive.git import Git, GitRefused
from runkit.archive.scanning import secrets_in_bytes
from runkit.archive.writing import write_atomically
from runkit.records.capture import CAPTURE_FILE
from runkit.records.manifest import Code
from runkit.records.record import canonical_digest
from runkit.secrets.paths import PROGRAMS, says_secret
from runkit.secrets.text import without_secrets

CODE_FOLDER = "code"
DIFF_FILE = f"{CODE_FOLDER}/changes.diff"
UNTRACKED_FILE = f"{CODE_FOLDER}/untracked.tar"
MAX_BYTES = 16 << 20
"""Of the diff, and of all untracked files together."""
_NOT_A_CHECKOUT = "the code does not run from a git checkout"
_REFUSALS = (
    ("not a git repository", _NOT_A_CHECKOUT),
    (
        "dubious ownership",
        "git refuses the checkout, which belongs to another user; safe.directory allows it",
    ),
    ("cannot use bare repository", "the folder lies in a bare git repository, which has no files"),
    ("must be run in a work tree", "the folder lies in a bare git repository, which has no files"),
    ("Needed a single revision", "the checkout has no commit yet"),
)
_MOST_NAMED = 40
_MOST_EXCLUDED = 500
_TOOLS = re.compile(
    r"(?:^|/)(?:(?:__pycache__|\.ipynb_checkpoints|\.(?:pytest|mypy|ruff)_cache|\.hypothesis|\.tox|\.nox|node_modules"
    r"|\.?venv|site-packages|[^/]+\.egg-info|mlruns|mlartifacts|lightning_logs|tb_logs|checkpoint-[0-9]+)/"
    r"|wandb/(?:run-|offline-run-|latest-run|debug)|(?:outputs|multirun)/[0-9]{4}-[0-9]{2}-[0-9]{2}/"
    r"|events\.out\.tfevents\.)"
)
_RUN_FOLDERS = re.compile(r"(?P<run>(?:^|.*/)runs/[^/]+)/")
_ARCHIVES = re.compile(r"(?P<workspace>^|.*/)(?:preserved_runs|manifests|paper_tables)/")
_SOURCES = PROGRAMS | {
    ".sh", ".bash", ".slurm", ".sbatch", ".toml", ".yaml", ".yml", ".cfg", ".ini", ".gin",
}  # fmt: skip
"""Untracked files that count when code is compared; others may be what a run wrote."""


def captured_code(folder: Path, *, run_folder: Path | None = None, max_bytes: int = MAX_BYTES) -> Code:
    """Return the state of the git checkout around *folder*.

    Args:
        run_folder: Where the difference to the commit is kept, below ``code/``; None: it is not kept.
        max_bytes: What is larger is left out and named; so is what holds a secret or may by its name.
    """
    commit = None
    try:
        git = Git(folder)
        root = Path(git.line("rev-parse", "--show-toplevel"))
        commit = git.line("rev-parse", "--verify", "HEAD^{commit}")
        if not (root / ".git").exists():
            return _unknown(None, "the work tree of the repository lies elsewhere (core.worktree)")
        changes = _Changes.of(Git(root).without_filters(), run_folder)
        if changes.is_empty:
            return Code(git_commit=commit, is_dirty=False, missing_because=None)
        if run_folder is None:
            return Code(git_commit=commit, is_dirty=True, missing_because=None)
        return _kept(changes, commit, run_folder, max_bytes)
    except GitRefused as error:
        return _unknown(commit, _reason(str(error)))


def is_tracked(path: Path) -> bool:
    """Return whether git tracks the file at *path*."""
    try:
        Git(path.parent).output("ls-files", "--error-unmatch", "--", path.name)
    except GitRefused:
        return False
    return True


def _unknown(commit: str | None, because: str) -> Code:
    return Code(git_commit=commit, is_dirty=None, missing_because=because)


def _reason(said: str) -> str:
    for part, reason in _REFUSALS:
        if part in said:
            return reason
    plain = "".join(character if character.isprintable() else "?" for character in said)
    return without_secrets(f"git cannot tell the state of the checkout: {plain[:200]}")


@dataclass(frozen=True)
class _Changes:
    """Names of what differs from the commit, as far as it is code."""

    git: Git
    excluded: tuple[str, ...]
    """Path specifications of what runkit wrote."""
    tracked: tuple[str, ...]
    untracked: tuple[str, ...]
    unknown: dict[str, str]
    """Changed, new or perhaps changed files with a filter, each with the filter's name."""
    submodules: tuple[str, ...]
    """With changes of their own."""

    @property
    def is_empty(self) -> bool:
        return not (self.tracked or self.untracked or self.unknown or self.submodules)

    @classmethod
    def of(cls, git: Git, run_folder: Path | None) -> _Changes:
        """Return what differs in the checkout at the folder of *git*."""
        own = _own_folders(git.folder, run_folder)
        excluded = (":(top)", *(f":(top,exclude,literal){folder}" for folder in own))
        tracked = git.names("diff", *_PLAIN, "--name-only", "-z", "HEAD", "--", *excluded)
        tracked = list(dict.fromkeys(tracked))
        untracked = [
            name
            for name in git.names("ls-files", "--others", "--exclude-standard", "-z")
            if not _is_output(git.folder, name, own)
        ]
        filtered = git.filtered([*tracked, *untracked])
        unknown = {name: how for name, how in filtered.items() if not _is_same_large_file(git, name, how)}
        return cls(
            git,
            excluded,
            tuple(name for name in tracked if name not in filtered),
            tuple(sorted(name for name in untracked if name not in filtered)),
            unknown,
            tuple(_dirty_submodules(git)),
        )


_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--ignore-submodules=dirty")


@dataclass
class _Kept:
    """What is kept of the changes, as it grows."""

    paths: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    compared: list[tuple[str, str]] = field(default_factory=list)
    """Names and digests of what counts when code is compared."""


def _kept(changes: _Changes, commit: str, run_folder: Path, max_bytes: int) -> Code:
    kept = _Kept()
    reapplies = _keep_diff(changes, run_folder, max_bytes, kept)
    kept.left_out += [f"{_shown(name)}: changes inside a submodule" for name in changes.submodules]
    kept.left_out += [
        f"{_shown(name)}: git runs the program of the filter {_shown(how)} on it, and runkit runs none"
        for name, how in changes.unknown.items()
    ]
    archive = _untracked(changes, max_bytes, kept)
    if archive is not None:
        _write(run_folder / UNTRACKED_FILE, archive)
        kept.paths.append(UNTRACKED_FILE)
    left_out = tuple(_first(kept.left_out))
    return Code(
        git_commit=commit,
        is_dirty=True,
        missing_because=f"NOT KEPT: {'; '.join(left_out)}" if left_out else None,
        changes=tuple(kept.paths),
        left_out=left_out,
        reapplies=reapplies,
        digest=canonical_digest([list(one) for one in sorted(kept.compared)]),
    )


def _keep_diff(changes: _Changes, run_folder: Path, max_bytes: int, kept: _Kept) -> bool | None:
    """Write the diff of the tracked files that may be kept; return whether it gives them all."""
    secret = [name for name in changes.tracked if says_secret(name)]
    hidden = [*secret, *changes.unknown]
    if len(hidden) > _MOST_EXCLUDED:
        kept.left_out.append(f"tracked changes: {len(hidden)} files may hold secrets or have filters")
        return False
    specification = (*changes.excluded, *(f":(top,exclude,literal){name}" for name in hidden))
    diff = changes.git.output("diff", "--binary", "--full-index", *_PLAIN, "HEAD", "--", *specification)
    kept.left_out += [f"{_shown(name)}: its name says that it may hold a secret" for name in secret]
    if len(diff) > max_bytes:
        kept.left_out.append(f"tracked changes: {len(diff)} bytes of diff are more than {max_bytes}")
        return None
    names = [name for name in changes.tracked if name not in set(hidden)]
    whole = len(diff)
    diff = b"".join(_without_secrets(changes.git.folder, diff, names, kept))
    if diff:
        _write(run_folder / DIFF_FILE, diff)
        kept.paths.append(DIFF_FILE)
        kept.compared.append((DIFF_FILE, hashlib.sha256(diff).hexdigest()))
    return not hidden and len(diff) == whole and _reapplies(changes, diff)


def _without_secrets(root: Path, diff: bytes, names: Sequence[str], kept: _Kept) -> Iterator[bytes]:
    """Yield the part of each file in *diff* that shows no secret; name the others."""
    starts = [match.start() for match in re.finditer(rb"^diff --git ", diff, re.MULTILINE)]
    parts = [diff[start:end] for start, end in pairwise([*starts, len(diff)])]
    if len(parts) != len(names) or (diff and starts[:1] != [0]):
        found = secrets_in_bytes(diff)
        if found:
            kept.left_out.append(f"tracked changes: the diff holds what looks like {found[0][1]}")
        else:
            yield diff
        return
    for name, part in zip(names, parts, strict=True):
        found = secrets_in_bytes(part)
        if not found and b"\nGIT binary patch\n" in part:
            found = secrets_in_bytes(_content(root / name))
        if found:
            kept.left_out.append(f"{_shown(name)}: its changes hold what looks like {found[0][1]}")
        else:
            yield part


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b""
    except OSError:
        return b""


def _reapplies(changes: _Changes, diff: bytes) -> bool:
    """Return whether the commit and *diff* give the tree that the tracked files are now."""
    git = changes.git
    try:
        objects, index = (
            git.line("rev-parse", "--path-format=absolute", "--git-path", what)
            for what in ("objects", "index")
        )
        with tempfile.TemporaryDirectory(prefix="runkit-code-") as place:
            Path(place, "objects").mkdir()
            shared = {
                "GIT_OBJECT_DIRECTORY": f"{place}/objects",
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{objects}"' if ":" in objects else objects,
            }
            rebuilt = {**shared, "GIT_INDEX_FILE": f"{place}/rebuilt"}
            present = {**shared, "GIT_INDEX_FILE": f"{place}/present"}
            shutil.copy2(index, f"{place}/present")  # with its time, by which git knows what it must compare
            git.output("read-tree", "HEAD", environment=rebuilt)
            if diff:
                git.output("apply", "--cached", "-", environment=rebuilt, stdin=diff)
            tree = git.output("write-tree", "--missing-ok", environment=rebuilt).decode().strip()
            unstaged = git.output("diff-files", *_PLAIN, "--name-only", "-z", "--", *changes.excluded)
            git.output("update-index", "--remove", "-z", "--stdin", environment=present, stdin=unstaged)
            git.output(
                "diff-index",
                *_PLAIN,
                "--cached",
                "--quiet",
                tree,
                "--",
                *changes.excluded,
                environment=present,
            )
    except (GitRefused, OSError):
        return False
    return True


def _dirty_submodules(git: Git) -> Iterator[str]:
    """Yield the submodules with changes that are not committed; each is asked by itself."""
    for entry in git.output("ls-files", "--stage", "-z").split(b"\0"):
        if not entry.startswith(b"160000 "):
            continue
        name = os.fsdecode(entry.partition(b"\t")[2])
        if not (git.folder / name / ".git").exists():
            continue  # not checked out
        try:
            if not _Changes.of(Git(git.folder / name).without_filters(), None).is_empty:
                yield name
        except GitRefused:
            yield name


def _is_same_large_file(git: Git, name: str, how: str) -> bool:
    """Return whether *name* is kept by git LFS and has the very content that the commit points to."""
    if how != "lfs":
        return False
    try:
        pointer = git.output("cat-file", "blob", f"HEAD:{name}")
    except GitRefused:
        return False
    said = re.search(rb"^oid sha256:([0-9a-f]{64})$", pointer, re.MULTILINE)
    try:
        with (git.folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return False
    return said is not None and said[1].decode() == found


def _own_folders(root: Path, run_folder: Path | None) -> tuple[str, ...]:
    """Return the folders inside *root* that runkit writes into for this workspace."""
    if run_folder is None:
        return ()
    top, runs = root.resolve(), run_folder.resolve().parent
    folders = [runs] if runs != top and not top.is_relative_to(runs) else [run_folder.resolve()]
    workspace = runs.parent
    if (workspace / "preserved_runs").is_dir():
        folders += [workspace / "preserved_runs", workspace / "manifests", workspace / "paper_tables"]
    inside = [folder.relative_to(top).as_posix() for folder in folders if folder.is_relative_to(top)]
    return tuple(folder for folder in inside if folder != ".")


def _is_output(root: Path, name: str, own: Sequence[str]) -> bool:
    """Return whether the untracked file *name* is what runkit or another tool wrote, and no code."""
    if any(name.startswith(f"{folder}/") for folder in own) or _TOOLS.search(name):
        return True
    run = _RUN_FOLDERS.match(name)
    if run is not None and (root / run["run"] / CAPTURE_FILE).is_file():
        return True
    archive = _ARCHIVES.match(name)
    return archive is not None and (root / archive["workspace"] / "preserved_runs").is_dir()


def _untracked(changes: _Changes, max_bytes: int, kept: _Kept) -> bytes | None:
    """Return a tar archive of the untracked files, equal bytes for equal files, or None."""
    buffer, num_bytes, num_files = io.BytesIO(), 0, 0
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in changes.untracked:
            content, trouble = _readable(changes.git.folder, name, max_bytes, num_bytes)
            if content is None:
                kept.left_out.append(f"{_shown(name)}: {trouble}")
                continue
            member = tarfile.TarInfo(name)
            is_program = os.access(changes.git.folder / name, os.X_OK)
            member.size, member.mode = len(content), 0o755 if is_program else 0o644
            archive.addfile(member, io.BytesIO(content))
            num_bytes, num_files = num_bytes + len(content), num_files + 1
            if PurePosixPath(name).suffix.lower() in _SOURCES or is_program:
                kept.compared.append((name, hashlib.sha256(content).hexdigest()))
    return buffer.getvalue() if num_files else None


def _readable(root: Path, name: str, max_bytes: int, num_bytes: int) -> tuple[bytes | None, str]:
    """Return the content of an untracked file, or None and why it is not kept."""
    if says_secret(name):
        return None, "its name says that it may hold a secret"
    path = root / name
    try:
        found = path.lstat()
        if name.endswith("/"):
            return None, "a git repository of its own"
        if not stat.S_ISREG(found.st_mode):
            return None, "no regular file"
        if num_bytes + found.st_size > max_bytes:
            return None, f"{found.st_size} bytes, and untracked files may have {max_bytes} in all"
        content = path.read_bytes()
    except OSError as error:
        return None, error.strerror or "cannot be read"
    secrets = secrets_in_bytes(content)
    if secrets:
        line, kind = secrets[0]
        return None, f"line {line} holds what looks like {kind}"
    return content, ""


def _first(left_out: Sequence[str]) -> list[str]:
    num_more = len(left_out) - _MOST_NAMED
    return [*left_out[:_MOST_NAMED], *([f"and {num_more} more files"] if num_more > 0 else [])]


def _shown(name: str) -> str:
    return without_secrets(name.encode(errors="backslashreplace").decode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
