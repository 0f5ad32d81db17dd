"""A page read by a parser: its elements, and that each is closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "line", "circle", "rect", "path", "polyline", "br"}  # without an end


@dataclass
class Element:
    """An element, its attributes, and the elements and text within."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text within, spaces as one."""
        return " ".join(" ".join(self.texts).split())

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def all(self, tag: str = "", cls: str = "", **attributes: str) -> list[Element]:
        """The elements within that have this tag, class and attributes."""
        found = []
        for child in self.children:
            wanted = (not tag or child.tag == tag) and (not cls or cls in child.classes)
            if wanted and all(child.attributes.get(name) == value for name, value in attributes.items()):
                found.append(child)
            found += child.all(tag, cls, **attributes)
        return found

    def one(self, tag: str = "", cls: str = "", **attributes: str) -> Element:
        """The only one of these."""
        (found,) = self.all(tag, cls, **attributes)
        return found


class Reader(HTMLParser):
    """Builds `Element`s; AssertionError where an element is not closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, (self.open[-1], tag)
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element.texts.append(data)


def parse(text: str) -> Element:
    """The page."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root], reader.open[-1].tag
    return reader.root
