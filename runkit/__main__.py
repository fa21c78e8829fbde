"""``python -m runkit`` and the program ``runkit``: starts the command line, or says why that cannot be."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; an installation from which it cannot be loaded is one line and exit status 2."""
    try:
        from runkit.cli.app import main as run
    except Exception as error:  # noqa: BLE001  # whatever a part of an installation that is torn or too old raises
        said = " ".join(f"{type(error).__name__}: {error}".split())
        line = (
            f"runkit: cannot start: {said}; this installation is not whole: install it again with "
            "`pip install --force-reinstall runkit`"
        )
        print(line.encode("ascii", "backslashreplace").decode(), file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
