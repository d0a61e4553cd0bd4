"""dbt in a process that ends with the one that started it: what `prism-dbt` runs.

A night that is killed lets go of the build lock at once. Its dbt, left alone, would go on building beside the
next night's. It works in the role of ``PRISM_DBT_ROLE``, which owns what it makes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def session_options(role: str | None) -> dict[str, str]:
    """libpq's variable by which each session begins in ``role``; none without one.

    Not dbt's own `role:`, which is gone with the first transaction that is rolled back; and not for all of a
    process of Dagster's, which has sessions of its own.
    """
    return {"PGOPTIONS": f"-c role={role}"} if role else {}


def main() -> None:
    """Runs dbt's command line; on Linux the kernel ends it when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(session_options(os.environ.get("PRISM_DBT_ROLE")))
    from dbt.cli.main import cli  # noqa: PLC0415 - takes seconds

    cli()


if __name__ == "__main__":
    main()
