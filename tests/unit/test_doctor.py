"""What `prism doctor` says of the files that hold secrets."""

from __future__ import annotations

from pathlib import Path

from orchestration.doctor import examine
from orchestration.settings import load_settings


def test_keys_that_every_user_of_the_machine_may_read_are_named(tmp_path: Path) -> None:
    dkim = tmp_path / "dkim.pem"
    dkim.touch(mode=0o640)
    settings = load_settings({"PRISM_DKIM_KEY": "dkim.pem"}, tmp_path)
    settings.hmac_key()

    def keys() -> str:
        return str(next(one for one in examine(lambda: settings) if one.name == "keys"))

    assert keys() == "ok    keys: for their owner alone"
    for path in (settings.home / "hmac.key", dkim):
        path.chmod(0o644)
        assert keys().startswith("FAIL  keys: every user of this machine may read")
        assert str(path) in keys()
