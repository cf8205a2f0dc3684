"""What a page is made of: sections of texts, tables and charts. The template alone turns them into HTML."""

from collections.abc import Sequence

import msgspec


class Table(msgspec.Struct, frozen=True):
    """Cells are texts and are escaped; the first column names the row; those after the `texts` first ones are figures,
    set to the right; 0: none is. A folded one is opened by its reader.

    `to` are the sections that the last cells of the rows lead to.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    folded: bool = False
    to: Sequence[str] = ()


class Drawing(msgspec.Struct, frozen=True):
    """One chart as SVG of one width in pixels."""

    width: int
    svg: str


class Chart(msgspec.Struct, frozen=True):
    """A chart: what it shows in one sentence, as it is drawn for wide and narrow pages, and its figures."""

    name: str
    title: str
    said: str
    wide: Drawing
    narrow: Drawing
    table: Table


class Text(msgspec.Struct, frozen=True):
    """Paragraphs; boxed for a definition."""

    paragraphs: Sequence[str]
    boxed: bool = False


class Link(msgspec.Struct, frozen=True):
    """A file of the folder."""

    name: str
    said: str


class Section(msgspec.Struct, frozen=True):
    """A part of the page, in this order; a command stands with what it is for."""

    id: str
    title: str
    texts: Sequence[Text] = ()
    commands: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    links: Sequence[Link] = ()
    notes: Sequence[str] = ()
