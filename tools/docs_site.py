"""mkdocs hook: README.md is the first page of the site, its links to docs/ are links within the site."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md and CHANGELOG.md."""
    for name, page in (("README.md", "index.md"), ("CHANGELOG.md", "changelog.md")):
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        text = text.replace("[CITATION.cff](CITATION.cff)", "`CITATION.cff`")
        files.append(File.generated(config, page, content=text))
    return files
