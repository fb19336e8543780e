"""`python -m relay_core` is the `relay` command."""

from __future__ import annotations

from relay_core.cli import main

if __name__ == "__main__":
    main()
