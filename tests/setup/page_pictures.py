"""Looks at the camera page with a real Chromium: no error, live frames, freezing by keyboard, alternative text, and an
agent that hangs; takes the pictures of `docs/pictures` on the way.

    page_pictures.py CHROMIUM URL AGENT_PROCESS DIRECTORY
"""

import asyncio
import base64
import os
import signal
import sys
import tempfile
from pathlib import Path

import aiohttp

DEADLINE_SECONDS = 60
# name, width, height, phone, dark
VIEWS = [
    ("camera-page-desktop", 1280, 800, False, False),
    ("camera-page-desktop-dark", 1280, 800, False, True),
    ("camera-page-phone", 390, 844, True, False),
]
JPEG_QUALITY = 80
BYTES_MAX = 150 * 1024


class Browser:
    """One tab, driven by the protocol of Chromium's developer tools."""

    def __init__(self, socket):
        self.socket = socket
        self.number = 0
        self.problems = []

    async def call(self, method, **arguments):
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": arguments})
        while True:
            message = await self.socket.receive_json()
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.note(message)

    def note(self, message):
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(message["params"]["exceptionDetails"])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(message["params"]["entry"])

    async def value(self, expression):
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def until(self, what, expression):
        for _ in range(DEADLINE_SECONDS * 10):
            value = await self.value(expression)
            if value:
                return value
            await asyncio.sleep(0.1)
        raise RuntimeError(f"{what}: not within {DEADLINE_SECONDS} s")

    async def space(self):
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", windowsVirtualKeyCode=32)


async def look(browser, url, agent, directory):
    for domain in ("Page", "Runtime", "Log"):
        await browser.call(f"{domain}.enable")
    for name, width, height, is_phone, is_dark in VIEWS:
        await browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )
        scheme = "dark" if is_dark else "light"
        await browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await browser.call("Page.navigate", url=url)
        await browser.until("a frame", "document.getElementById('frame')?.naturalWidth")
        await check(browser)
        overflow = await browser.value("document.documentElement.scrollWidth > innerWidth")
        assert not overflow, f"{name}: the page is wider than the screen"
        # Rates are those of some seconds; the best frame has been seen.
        await browser.until("rates", "parseFloat(document.querySelector('#rates td').textContent) > 0")
        await browser.until("a sharp frame", "document.getElementById('sharpness-value').textContent.includes('100 %')")
        await take(browser, name, directory)
    assert not browser.problems, browser.problems
    os.kill(agent, signal.SIGSTOP)
    try:
        await browser.until("the mark of an old picture", "document.getElementById('figure').className === 'old'")
        await take(browser, "camera-page-phone-not-live", directory)
    finally:
        os.kill(agent, signal.SIGCONT)
    await browser.until("live pictures again", "document.getElementById('figure').className === ''")


async def take(browser, name, directory):
    picture = await browser.call("Page.captureScreenshot", format="jpeg", quality=JPEG_QUALITY)
    content = base64.b64decode(picture["data"])
    assert len(content) < BYTES_MAX, f"{name}: {len(content)} bytes"
    (directory / f"{name}.jpg").write_bytes(content)
    print(f"{name}.jpg: {len(content)} bytes")


async def check(browser):
    """Frames come, the space bar holds one, another lets them go on, and what is seen is told in words."""
    source = "document.getElementById('frame').src"
    first = await browser.value(source)
    await browser.until("the next frame", f"{source} !== {first!r}")
    await browser.until("alternative text", "document.getElementById('frame').alt.includes('face 9')")
    await browser.space()
    await browser.until("freezing", "document.getElementById('freeze').getAttribute('aria-pressed') === 'true'")
    held = await browser.value(source)
    await asyncio.sleep(2)
    assert await browser.value(source) == held, "a frozen picture changed"
    await browser.space()
    await browser.until("going on", f"{source} !== {held!r}")


async def main():
    chromium, url, agent, directory = sys.argv[1:]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            listening = Path(profile) / "DevToolsActivePort"
            for _ in range(DEADLINE_SECONDS * 10):
                if listening.exists() and listening.read_text().count("\n"):
                    break
                await asyncio.sleep(0.1)
            port = listening.read_text().split()[0]
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    tabs = await answer.json()
                tab = next(tab for tab in tabs if tab["type"] == "page")
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    await look(Browser(socket), url, int(agent), Path(directory))
        finally:
            process.terminate()
            await process.wait()


asyncio.run(main())
