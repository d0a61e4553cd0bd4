"""From a source's settings to its reader: the one place that knows every type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import PrismError
from orchestration.settings import ApplicationSource, Settings, Source
from orchestration.sources.application import open_application
from orchestration.sources.files import FilesReader
from orchestration.sources.protocol import Reader
from orchestration.warehouse import Warehouse


@dataclass(frozen=True)
class OpenableSource:
    """A source of prism.yaml that can be read, or looked at."""

    source: Source
    settings: Settings
    warehouse: Warehouse
    files: Sequence[Path] | None = None

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The source, open. Raises :class:`PrismError` where it can't be read or lacks what is required."""
        privacy = self.settings.config.privacy
        if isinstance(self.source, ApplicationSource):
            if self.files is not None:
                raise PrismError(
                    "this source reads a database, not files",
                    where=f"sources: {self.source.name}",
                    mend="Name a source of type files.",
                )
            url = self.source.url or self.warehouse.url
            with open_application(self.source, url, with_texts=privacy.prompt_texts == "full") as application:
                yield application
        else:
            yield FilesReader(
                self.source, self.settings.base, self.files, loaded_as=privacy.model_dump_json()
            )

    def describe(self) -> str:
        """What the source has to read, in one line. Raises as :meth:`reader` does."""
        with self.reader() as reader:
            return reader.description


def open_source(
    source: Source, settings: Settings, warehouse: Warehouse, *, files: Sequence[Path] | None = None
) -> OpenableSource:
    """``warehouse`` holds an application without a URL of its own; ``files`` stand for the source's."""
    return OpenableSource(source, settings, warehouse, files)
