"""Links of the pages to files of the repository that are not part of the site: named, not linked to. A hook of mkdocs."""
import re

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)\s#]+)[^)\s]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """``[text](../folder/file)`` -> text (`folder/file`)."""
    return OUTSIDE.sub(lambda found: found[1] if found[1] == found[2] else f"{found[1]} (`{found[2]}`)", markdown)
