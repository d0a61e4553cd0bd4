"""One message to one chat or webhook through apprise, and what became of it.

Knows no alert and no ledger. A URL may hold a secret: nothing of it is logged, told or kept.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from reports.smtp import Reply

# What apprise's plugins log of an answer, and of a connection that never was; its result has no field for it.
_STATUS = re.compile(r"error=(\d{3})\b")
_NOT_CONNECTED = re.compile(r"Failed to establish a new connection|ConnectTimeout|Failed to resolve")


def is_known(url: str) -> bool:
    """Whether apprise has a service for the URL; sends nothing."""
    import apprise  # noqa: PLC0415 - seldom needed

    with _privately():
        return apprise.Apprise.instantiate(url, suppress_exceptions=True) is not None


def send(url: str, title: str, text: str, *, seconds: float) -> Reply:
    """Sends plain text, which holds no mark that a chat reads as more, waiting ``seconds`` at most.

    ``retry`` where the service can't be reached or can't take it now (429, 5xx), ``failed`` where it refuses
    (other answers), ``uncertain`` where no answer came: it may have taken the message.
    """
    import apprise  # noqa: PLC0415 - seldom needed

    with _privately():
        # signed by us, and without the pictures that apprise would have each reader's chat fetch
        asset = apprise.AppriseAsset(
            app_id="Prism", app_desc="Prism", app_url="", image_url_mask="", image_url_logo=""
        )
        services = apprise.Apprise(asset=asset)
        if not services.add(url):
            return Reply("failed", "apprise does not know this kind of URL")
        [service] = services
        # Teams shows a lone line break as none, and the marks by which apprise would escape a plain text
        marks = service.notify_format == apprise.NotifyFormat.MARKDOWN
        result = services.notify(
            body=re.sub(r"\n+", "\n\n", text) if marks else text,
            title=title,
            body_format=apprise.NotifyFormat.MARKDOWN if marks else apprise.NotifyFormat.TEXT,
            interpret_escapes=False,
            timeout=seconds,
            log_level=logging.DEBUG,
        )
    if result:
        return Reply("sent", "taken")
    told = " ".join(entry.message for entry in result.logs())
    if status := _STATUS.search(told):
        code = int(status[1])
        return Reply("retry" if code in (408, 425, 429) or code >= 500 else "failed", f"HTTP {code}")
    if result.status is apprise.AppriseResultStatus.TIMEOUT:
        return Reply("uncertain", f"no end within {seconds:g} s")
    if _NOT_CONNECTED.search(told):
        return Reply("retry", "no connection")
    return Reply("uncertain", "no answer")


@contextmanager
def _privately() -> Iterator[None]:
    """apprise logs URLs and messages, and what it calls logs paths: nothing of it goes further than the
    result, which has it all."""
    loggers = [logging.getLogger("apprise"), logging.getLogger("urllib3")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    handler = logging.NullHandler()
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    loggers[0].setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger, (level, propagated) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagated
