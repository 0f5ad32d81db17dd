"""Names out of files made fit to be shown: what could move a terminal's cursor, or hide or reorder text, is written as an escape."""
from __future__ import annotations

import unicodedata

# Control characters, surrogates (bytes of a file name that are no UTF-8), separators of lines, and format characters: among them those
# that turn the direction of writing.
UNFIT = {"Cc", "Cf", "Cs", "Zl", "Zp"}
FIT = {"\u200c", "\u200d"}  # joiners, which words of some scripts need


def printable(text: object) -> str:
    r"""`text` in one line without control characters: a newline becomes ``\n``, an escape ``\x1b``. What is fit stays as it is."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def one_line(text: object) -> str:
    """A message of several lines as one: whitespace becomes single spaces, and then as `printable`."""
    return printable(" ".join(str(text).split()))


def _shown(character: str) -> str:
    if character in FIT or unicodedata.category(character) not in UNFIT:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
