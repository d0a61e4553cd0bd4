"""From a source's settings to its reader: the one place that knows every type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import PrismError
from orchestration.settings import (
    ApplicationSource,
    FileSource,
    FilesSource,
    HeliconeSource,
    LangfuseSource,
    LitellmSource,
    OpenTelemetrySource,
    Settings,
    Source,
)
from orchestration.sources.application import open_application
from orchestration.sources.exports import ExportReader
from orchestration.sources.files import FilesReader
from orchestration.sources.files import waiting as files_waiting
from orchestration.sources.helicone import open_helicone
from orchestration.sources.langfuse import open_langfuse
from orchestration.sources.litellm import open_litellm
from orchestration.sources.opentelemetry import open_opentelemetry
from orchestration.sources.protocol import Reader


@dataclass(frozen=True)
class OpenableSource:
    """A source of prism.yaml that can be read, or looked at."""

    source: Source
    settings: Settings
    own_database: str
    files: Sequence[Path] | None = None

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The source, open. Raises :class:`PrismError` where it can't be read or lacks what is required."""
        privacy = self.settings.config.privacy
        with_texts = privacy.prompt_texts != "none"
        source, base, loaded_as = self.source, self.settings.base, privacy.model_dump_json()
        match source:
            case ApplicationSource():
                with open_application(source, self._url(source), with_texts=with_texts) as application:
                    yield application
            case LitellmSource():
                with open_litellm(source, self._url(source), with_texts=with_texts) as proxy:
                    yield proxy
            case FilesSource():
                yield FilesReader(source, base, self.files, loaded_as=loaded_as)
            case LangfuseSource():
                yield open_langfuse(source, base, self.files, with_texts=with_texts, loaded_as=loaded_as)
            case OpenTelemetrySource():
                yield open_opentelemetry(source, base, self.files, with_texts=with_texts, loaded_as=loaded_as)
            case HeliconeSource():
                yield open_helicone(source, base, self.files, with_texts=with_texts, loaded_as=loaded_as)

    def _url(self, source: ApplicationSource | LitellmSource) -> str:
        if self.files is not None:
            raise PrismError(
                "this source reads a database, not files",
                where=f"sources: {source.name}",
                mend="Name a source that reads files.",
            )
        return source.url or self.own_database

    def describe(self) -> str:
        """What the source has to read, in one line. Raises as :meth:`reader` does, and reading would."""
        with self.reader() as reader:
            if isinstance(reader, FilesReader):
                reader.check()
            return reader.description


def waiting(source: FileSource, settings: Settings) -> list[Path]:
    """The files of a source that are there to be loaded, complete as far as can be told; reads no row.

    Raises :class:`PrismError` where there is no such folder.
    """
    if isinstance(source, FilesSource):
        return files_waiting(source, settings.base)
    with OpenableSource(source, settings, "").reader() as reader:
        return list(reader.paths) if isinstance(reader, ExportReader) else []


def open_source(
    source: Source, settings: Settings, own_database: str, *, files: Sequence[Path] | None = None
) -> OpenableSource:
    """``own_database`` is the URL of where an application lies that names none; ``files`` stand for the
    source's."""
    return OpenableSource(source, settings, own_database, files)
