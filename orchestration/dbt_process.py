"""dbt in a process that ends with the one that started it: what `prism-dbt` runs.

A night that is killed lets go of the build lock at once. Its dbt, left alone, would go on building beside the
next night's.
"""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Runs dbt's command line; on Linux the kernel ends it when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    from dbt.cli.main import cli  # noqa: PLC0415 - takes seconds

    cli()


if __name__ == "__main__":
    main()
