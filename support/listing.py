"""A table that never breaks a name: where it is wider than the terminal, the first column gets lines of its own above the others."""
from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from .printable import printable

NARROWEST = 80  # columns that captions are broken for, however little a table needs
NARROW = 24  # columns that prose needs to be readable
INDENT = "  "


class Listing:
    """Rows of text. A string is shown as it is, without markup; several lines in a cell are a tuple of strings.

    Parameters
    ----------
    headings : sequence of str
        May hold line breaks.
    right : collection of int
        The columns that hold numbers.
    remark : bool
        The last column is prose: where there is no room beside the others, it stands below them.
    title, caption : str
        Above and below.
    """

    def __init__(self, headings: Sequence[str], right: Collection[int] = (), remark: bool = False, title: str = "", caption: str = ""):
        self.title, self.caption = title, caption
        self._headings, self._right, self._remark = list(headings), set(right), remark
        self._rows: list[tuple[list[Text], str]] = []
        self._sections: set[int] = set()  # rows before which there is a line

    def add_row(self, *cells: str | Text | tuple[str, ...], style: str = "") -> None:
        """One cell for each column; those that are left out are empty."""
        texts = [_text(cell) for cell in cells]
        self._rows.append((texts + [Text()] * (len(self._headings) - len(texts)), style))

    def add_section(self) -> None:
        """A line below the rows so far."""
        self._sections.add(len(self._rows))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        table = self._table(range(len(self._headings)))
        width = console.measure(table, options=options.update(max_width=10**6)).maximum
        fits = width - self._spare() <= options.max_width
        room = min(options.max_width, max(width, NARROWEST))
        if self.title:
            yield from _paragraph(console, self.title, room)
        if fits:
            yield table
        else:
            yield from self._stacked(console, options)
        if self.caption:
            yield from _paragraph(console, self.caption, room)

    def _table(self, columns: Sequence[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for column in columns:
            justify: Literal["right", "left"] = "right" if column in self._right else "left"
            prose = self._remark and column == len(self._headings) - 1
            table.add_column(Text(self._headings[column]), justify=justify, no_wrap=not prose, overflow="fold")
        for number, (cells, style) in enumerate(self._rows):
            if number in self._sections:
                table.add_section()
            table.add_row(*(cells[column] for column in columns), style=style)
        return table

    def _spare(self) -> int:
        """How much narrower the last column can become, if it is prose."""
        if not self._remark:
            return 0
        texts = [cells[-1] for cells, _ in self._rows]
        longest = max((text.cell_len for text in texts), default=0)
        word = max((Text(word).cell_len for text in texts for word in text.plain.split()), default=0)
        return max(0, longest - max(word, NARROW))

    def _stacked(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        """Name, indented cells, indented remark. Every row of the inner table is one line, so that they can be told apart."""
        inner = range(1, len(self._headings) - self._remark)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for column in inner:
            justify: Literal["right", "left"] = "right" if column in self._right else "left"
            table.add_column(Text(self._headings[column]), justify=justify, no_wrap=True, overflow="fold", vertical="bottom")
        for cells, style in self._rows:
            table.add_row(*(Text(", ").join(cells[column].split("\n")) for column in inner), style=style)
        lines = console.render_lines(table, options.update(max_width=10**6), pad=False)
        head = max(1 + heading.count("\n") for heading in (self._headings[column] for column in inner))
        yield _line(self._headings[0])
        for line in lines[:head]:
            yield from _indented(line)
        yield Text("─" * options.max_width if not options.ascii_only else "-" * options.max_width)
        for number, ((cells, style), line) in enumerate(zip(self._rows, lines[head:], strict=True)):
            if number in self._sections:
                yield Text()
            if cells[0]:
                yield _line(", ".join(cells[0].plain.split("\n")), style)
            if any(cells[column] for column in inner):
                yield from _indented(line)
            if self._remark and cells[-1]:
                yield from _paragraph(console, cells[-1], options.max_width, INDENT)


def _text(cell: str | Text | tuple[str, ...]) -> Text:
    if isinstance(cell, Text):
        return Text(printable(cell.plain), style=cell.style)
    return Text("\n".join(map(printable, cell)) if isinstance(cell, tuple) else printable(cell))


def _line(text: str, style: str | Style = "") -> Text:
    """Make a line that only the terminal breaks, if it must: what is copied from it is whole."""
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _indented(line: list[Segment]) -> Iterator[Segment]:
    yield Segment(INDENT)
    yield from line
    yield Segment.line()


def _paragraph(console: Console, text: str | Text, width: int, indent: str = "") -> Iterator[Text]:
    """Broken between words only."""
    style = text.style if isinstance(text, Text) else ""
    line: list[str] = []
    for word in printable(text.plain if isinstance(text, Text) else text).split(" "):
        if line and Text(" ".join([indent, *line, word])).cell_len > width:
            yield _line(f"{indent}{' '.join(line)}", style)
            line = []
        line.append(word)
    yield _line(f"{indent}{' '.join(line)}", style)
