"""`python -m ligate`."""

from __future__ import annotations

import sys

from ligate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
