"""``python -m expresso_persist`` is ``expresso-persist``."""

from __future__ import annotations

from expresso_persist.cli import main

if __name__ == "__main__":
    main()
