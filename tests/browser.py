"""A page in a real browser, without a window: for tests of pages that a script fills."""

import html
import re
import shutil
import subprocess

import pytest

_BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --disable-component-update "
    "--disable-background-networking --virtual-time-budget=5000 --dump-dom"
)

NEEDS_BROWSER = pytest.mark.skipif(_BROWSER is None, reason="no Chromium on the PATH (Debian: apt install chromium)")
BOTH_SCHEMES = pytest.mark.parametrize(
    "scheme, paper", [(0, "rgb(21, 23, 26)"), (1, "rgb(255, 255, 255)")], ids=["dark", "light"]
)


def seen(page, folder, scheme=1):
    """What the page's scripts have written to `document.body.dataset.seen`.

    folder: an empty one, for the page and the browser's profile. scheme: 0 for dark, 1 for light.
    """
    file = folder / "page_in_browser.html"
    file.write_text(page, encoding="utf-8")
    command = [_BROWSER, *_FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]
    command += [f"--blink-settings=preferredColorScheme={scheme}", file.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'data-seen="([^"]*)"', shown.stdout)
    assert found, shown.stdout[:500] + shown.stderr[-2000:]
    return html.unescape(found[1])
