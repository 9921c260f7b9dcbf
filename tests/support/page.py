"""A page as its reader and its scripts see it."""

import json
from html.parser import HTMLParser

VOID = ("meta", "img", "input", "br")


class Page(HTMLParser):
    """The elements of a page; fails on tags that do not match.

    Attributes:
        elements: Tag and attributes of each.
        text: Without scripts and styles.
        rows: Of all tables: lists of cells, each its attributes and its ``text``.
        facts: The definitions outside ``details``, by term.
        data: The data of the figures, by the id of the figure.
    """

    def __init__(self, html: str):
        super().__init__()
        self.elements, self.rows, self.facts, self.data = [], [], {}, {}
        self._open, self._texts, self._term, self._figure = [], [], "", ""
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = plain("".join(self._texts))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if "data-kind" in attributes:
            self._figure = attributes["id"]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append({"text": "", "head": "thead" in self._open} | attributes)
        elif tag == "dt":
            self._term = ""

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if {"script", "style"} & set(self._open):
            if self._open[-1] == "script" and self.elements[-1][1].get("type") == "application/json":
                self.data[self._figure] = json.loads(data)
            return
        self._texts.append(data)
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1]["text"] += data
        elif "details" not in self._open and "dt" in self._open:
            self._term += data
        elif "details" not in self._open and "dd" in self._open:
            self.facts[self._term] = data

    def all(self, tag):
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def attributes(self, *names):
        return [value for _, found in self.elements for name, value in found.items() if name in names]

    def row(self, title):
        """The texts of the first row with a title; a formula's index is set without its underscore."""
        rows = ([plain(cell["text"]) for cell in row] for row in self.rows)
        return next(row for row in rows if row and row[0] == title.replace("L_", "L"))

    @property
    def heads(self):
        return [cell for row in self.rows for cell in row if cell["head"]]

    def column(self, title):
        """The cells of the first table's body below a title."""
        heads = next(row for row in self.rows if row[0]["head"] and len(row) > 2)
        place = [head["text"] for head in heads].index(title)
        return [row[place] for row in self.rows if not row[0]["head"]]


def plain(text):
    return " ".join(text.replace("\xa0", " ").replace("\u2007", " ").split())
