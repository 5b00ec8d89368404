"""TensorBoard as somebody sees it: `hlgp tensorboard` in a process, its pages in a headless Chromium."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver")
HLGP = (sys.executable, "-c", "from hlgp_dist.cli import main; main()")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1500,1200")
PATIENCE_SECONDS = 60
SEEN = """
function seen(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent;
  if (node.nodeType !== Node.ELEMENT_NODE && node.nodeType !== Node.DOCUMENT_FRAGMENT_NODE) return '';
  if (['STYLE', 'SCRIPT', 'TEMPLATE', 'NOSCRIPT'].includes(node.tagName)) return '';
  if (node.nodeType === Node.ELEMENT_NODE && getComputedStyle(node).display === 'none') return '';
  const inside = node.tagName === 'SLOT' ? node.assignedNodes() : (node.shadowRoot || node).childNodes;
  return Array.from(inside, seen).join(' ');
}
return seen(document.body).replace(/\\s+/g, ' ');
"""
"""What is shown, also below shadow roots, where TensorBoard's older pages are."""
DEEP = """
function deep(node, found) {
  for (const child of node.children || []) {
    found.push(child);
    deep(child, found);
    if (child.shadowRoot) deep(child.shadowRoot, found);
  }
  return found;
}
const [first, second, third] = arguments, all = deep(document.body, []);
"""
CHOOSE = f"""{DEEP}
const menu = all.find(node => node.tagName === 'PAPER-DROPDOWN-MENU' && node.label === first);
const list = menu.querySelector('paper-listbox');
list.selected = Array.from(list.querySelectorAll('paper-item'), item => item.textContent.trim()).indexOf(second);
"""
FILL = f"""{DEEP}
const at = all.findIndex(node => node.tagName === 'PAPER-CHECKBOX' && node.textContent.trim() === first);
all.slice(at).find(node => node.tagName === 'PAPER-INPUT' && node.label === second).value = third;
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of `hlgp tensorboard`, which ends quietly when it is interrupted."""
    process = subprocess.Popen(
        [*HLGP, "tensorboard", str(folder), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        address = re.search(r"http://[^ ;]+", process.stdout.readline())
        assert address is not None
        yield address[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0


def read(address: str, what: str, question: Any = None) -> Any:
    """What one of TensorBoard's own addresses answers, to a question where it takes one."""
    body = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(f"{address}{what}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        return json.load(response)


def wait_for(condition: Callable[[], object]) -> float:
    """The seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE_SECONDS, "it does not happen"
        time.sleep(0.2)
    return time.monotonic() - began


class Browser:
    """One window; `visited` of a page leaves a picture in `shots`."""

    def __init__(self, driver: Chrome, address: str, shots: Path) -> None:
        self.driver, self.address, self.shots = driver, address, shots
        shots.mkdir(parents=True, exist_ok=True)

    def seen(self) -> str:
        text: str = self.driver.execute_script(SEEN)
        return text

    def visited(self, page: str, *expected: str) -> str:
        """What is to be read on a page once all that is expected stands there."""
        self.driver.get("about:blank")  # else a page stays behind the next one
        self.driver.get(f"{self.address}#{page}")
        return self.showing(page, *expected)

    def showing(self, name: str, *expected: str) -> str:
        """Wait until it does, then take a picture under that name."""
        try:
            wait_for(lambda: all(words in self.seen() for words in expected))
        finally:
            self.driver.save_screenshot(str(self.shots / f"{name}.png"))
        return self.seen()

    def choose(self, menu: str, item: str) -> None:
        """One of the HParams page's menus."""
        self.driver.execute_script(CHOOSE, menu, item)

    def fill(self, column: str, end: str, value: str) -> None:
        """The `Min` or `Max` of one of its columns."""
        self.driver.execute_script(FILL, column, end, value)


@contextmanager
def browser(address: str, shots: Path) -> Iterator[Browser]:
    """It downloads nothing: browser and driver are the machine's."""
    options = Options()
    assert CHROMIUM is not None
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver, address, shots)
    finally:
        driver.quit()
