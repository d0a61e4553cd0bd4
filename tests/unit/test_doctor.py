"""What `prism doctor` says of the files that hold secrets, and of the roles of the warehouse."""

from __future__ import annotations

from pathlib import Path

from orchestration import roles
from orchestration.doctor import examine, roles_in_words
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


def test_roles_that_are_not_there_are_told_with_what_comes_of_it() -> None:
    of_mails = roles_in_words([roles.RECIPIENT], user="app", own_pages=True)
    assert not of_mails.good
    assert of_mails.detail.startswith(
        "not there: prism_recipient; no report of some domains can be made. To have them: prism db setup"
    )
    none = roles_in_words(list(roles.ROLES), user="app", own_pages=False)
    assert none.good
    assert "the steps of prism_loader, prism_transformer, prism_reporter work as app;" in none.detail
    assert roles_in_words([], user="app", own_pages=True).detail == "each step takes on the least of them"
