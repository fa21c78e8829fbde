"""``python -m runkit``."""

from runkit.cli.app import main

if __name__ == "__main__":
    main()
