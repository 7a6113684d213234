"""``python -m mmbench`` and the ``mmbench`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from mmbench.cli import run_cli

        code = run_cli(sys.argv[1:])
    except KeyboardInterrupt:  # while Python was still importing
        sys.stderr.write("error: interrupted\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
