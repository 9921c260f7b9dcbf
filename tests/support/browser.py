"""A page in headless Chromium, with a script that looks at it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

LISTENERS = """<head><script>
window.problems = [];
addEventListener("error", event => problems.push(event.message));
addEventListener("unhandledrejection", event => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", event => problems.push(event.violatedDirective + event.blockedURI));
</script>"""
PROBE = """<script>
addEventListener("load", async () => {
  const probe = { problems: window.problems };
  try { %s } catch (error) { probe.problems.push(String(error)); }
  document.body.dataset.probe = JSON.stringify(probe);
});
</script></body>"""


def probe_page(file: Path, script: str) -> dict:
    """Open a page, run a script on it and return what it put into ``probe``; ``problems`` are errors of the page."""
    head, _, tail = file.read_text(encoding="utf-8").rpartition("</body>")
    probed = file.with_name("probed.html")
    probed.write_text(head.replace("<head>", LISTENERS, 1) + PROBE % script + tail, encoding="utf-8")
    for attempt in range(3):  # on a busy machine Chromium may dump a page before its load event
        process = subprocess.run(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-quic", "--disable-background-networking"),
                *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=500,400"),
                *(f"--user-data-dir={file.parent / f'profile_{attempt}'}", "--virtual-time-budget=30000"),
                *("--dump-dom", probed.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
        found = re.search(r'<body[^>]* data-probe="([^"]*)"', process.stdout)
        if found:
            return json.loads(unescape(found[1]))
    raise AssertionError(f"the script never ran on {file}: {process.stderr[-1000:]}")
