"""How often nightly comparisons call a difference where there is none, and where there is one.

The peer, in the same run: a t-test made for one look, looked at every night. Simulates prompts whose new
version gets so many uses a night for thirty nights. Prints both; exits with 1 where over 5 % of the
comparisons of equals raise an alarm. Run: python benchmarks/comparisons.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import nightly_looks as looks

# uses of the version before, uses of the new one a night
PACES = [(30, 3), (500, 10), (1000, 40), (5000, 4)]
TRIALS = 2000


def main() -> int:
    """Simulates, says what came of it."""
    worst = 0.0
    print("no difference: alarms within 30 nights (always-valid / test for one look)")
    for before, uses in PACES:
        for kind, made in looks.KINDS.items():
            draw = made(np.random.default_rng(101))
            trials = TRIALS if before < 5000 else TRIALS // 4
            alarms = looks.ever_called(draw, draw, trials, before=before, uses=uses)
            peer = looks.ever_called_by_a_test_for_one_look(draw, draw, trials, before=before, uses=uses)
            print(f"  {kind:20} {before:5,} uses before, {uses:3} a night: {alarms:6.2%} / {peer:6.1%}")
            worst = max(worst, alarms)
    random = np.random.default_rng(7)
    differences = {
        "success 80 % to 90 %": (looks.outcomes(random, 0.80), looks.outcomes(random, 0.90)),
        "success 85 % to 90 %": (looks.outcomes(random, 0.85), looks.outcomes(random, 0.90)),
        "a fifth quicker": (looks.log_times(random), looks.log_times(random, 0.8)),
        "a tenth quicker": (looks.log_times(random), looks.log_times(random, 0.9)),
        "twice as dear": (looks.costs(random), looks.costs(random, 2.0)),
    }
    print("a difference: seen within 30 nights")
    for name, (control, variant) in differences.items():
        seen = [
            f"{uses:3} a night {looks.ever_called(control, variant, 500, before=before, uses=uses):4.0%}"
            for before, uses in ((500, 10), (1000, 40), (3000, 100))
        ]
        print(f"  {name:20} {', '.join(seen)}")
    if worst > looks.ALPHA:
        print(f"false alarms in {worst:.1%} of the comparisons, over the limit of 5 %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
