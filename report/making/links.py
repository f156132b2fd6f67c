"""Check a rendered page: ids, links, figures that the text names, and nothing from outside."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

OUTSIDE = {"http", "https", "mailto"}


class Page(HTMLParser):
    """Ids, links and loaded resources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.captioned: list[str] = []
        """Ids of figures and tables."""
        self._tables: list[str] = []
        self.feed(text)
        self.loaded += re.findall(r"url\(\s*['\"]?([^)'\"]+)", text)
        self.loaded += re.findall(r"@import\s+['\"]([^'\"]+)", text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element has."""
        given = {name: value or "" for name, value in attrs}
        if name := given.get("id"):
            self.ids.append(name)
            if name.startswith(("fig-", "tab-")):
                self.captioned.append(name)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link":
            self.loaded.append(given.get("href", ""))
        for name in ("src", "srcset", "data", "poster"):
            if name in given and tag != "a":
                self.loaded.append(given[name])


def problems(text: str, folder: Path) -> list[str]:
    """What is wrong with a page that is to lie in a folder; empty where all is well."""
    page = Page(text)
    found = [
        f"The id '{name}' is there {n} times." for name, n in Counter(page.ids).items() if n > 1
    ]
    found += [
        f"The link to '#{target}' leads nowhere."
        for target in dict.fromkeys(_inside(page))
        if target not in page.ids
    ]
    for link in dict.fromkeys(page.links):
        parts = urlsplit(link)
        if not parts.scheme and parts.path and not (folder / unquote(parts.path)).exists():
            found.append(f"The link to '{link}' leads to no file of the repository.")
        if parts.scheme and parts.scheme not in OUTSIDE:
            found.append(f"The link to '{link[:60]}' has an unknown scheme.")
    named = set(_inside(page))
    found += [
        f"The text does not refer to '{name}': write {{numref}}`{name}` where it is spoken of."
        for name in page.captioned
        if name not in named
    ]
    found += [
        f"The page would load '{one[:80]}' from elsewhere."
        for one in page.loaded
        if not one.startswith(("data:", "#"))
    ]
    return found


def _inside(page: Page) -> list[str]:
    return [unquote(link[1:]) for link in page.links if link.startswith("#") and link != "#"]
