"""The page of `relay-server --http`, in a real browser (Debian's chromium).

`pytest tests/programs/test_page.py --pictures` draws the README's pictures anew.
"""

from __future__ import annotations

import asyncio
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import asyncssh
import pytest

import relay
from relay.web.store import FILE_NAME, MINUTE, Batch, Rate, Store
from tests.programs.chain import Chain, Server, Site, find, relay_server, start_chain
from tests.programs.process import GUARD
from tests.programs.traffic import dial, is_reset

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

HTTP: Final = ("--http", "127.0.0.1:0")
AT_ONCE: Final = 20
"""Services that are asked for before the first is answered: more than B lets wait would end it."""

PICTURES: Final = Path(relay.__file__).parent / "web" / "pictures"

expect: Any = playwright.expect
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for all tests of a process; each test has a profile of its own."""
    program = find("chromium")
    with playwright.sync_playwright() as driver:
        # Its sandbox does not start for root, nor in most containers; all it sees is ours.
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        started = driver.chromium.launch(executable_path=program, args=options)
        yield started
        started.close()


class View:
    """A page that is open, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(f"{error}"))
        page.on("dialog", lambda dialog: self.errors.append(f"a dialog: {dialog.message}"))
        page.on("console", self._said)
        page.set_default_timeout(GUARD * 1000)

    def _said(self, message: Any) -> None:
        # A server that is away is an error of the network in the console, and no other.
        if message.type == "error" and "net::ERR" not in message.text:
            self.errors.append(message.text)

    def __getitem__(self, selector: str) -> Any:
        return self.page.locator(selector)

    def row(self, section: str, text: str) -> Any:
        return self.page.locator(f"#{section} tbody tr", has_text=text)

    def shows(self, section: str) -> None:
        self.page.get_by_role("navigation").get_by_role("link", name=section).click()


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., View]]:
    """Open the page of a server. At the end it must have stumbled over nothing."""
    views: list[View] = []
    contexts: list[Any] = []

    def open_page(address: str, where: str = "", **options: Any) -> View:
        context = browser.new_context(**{"viewport": {"width": 1240, "height": 860}, **options})
        contexts.append(context)
        view = View(context.new_page())
        views.append(view)
        view.page.goto(f"http://{address}/{where}")
        expect(view["#state"]).to_have_text("live")
        return view

    yield open_page
    for context in contexts:
        context.close()
    assert [error for view in views for error in view.errors] == []


def address_of(server: Server) -> str:
    return server.process.wait_for(r"http at (127\.0\.0\.1:\d+)")[1]


@pytest.fixture
def chain(site: Site) -> Chain:
    return start_chain(site, b_options=HTTP)


@contextmanager
def publishing(site: Site, server: Server, names: list[str], **more: Any) -> Iterator[None]:
    """A client of somebody else's, which has published all these names."""
    ready, over = threading.Event(), threading.Event()
    problems: list[BaseException] = []

    async def publish() -> None:
        options = {"username": site.user, "client_keys": [str(site.key("many"))], **more}
        async with asyncssh.connect(
            "127.0.0.1", server.port, known_hosts=None, config=None, **options
        ) as client:
            for begin in range(0, len(names), AT_ONCE):
                some = names[begin : begin + AT_ONCE]
                forwards = (client.forward_remote_port(name, 8000, "127.0.0.1", 9) for name in some)
                await asyncio.gather(*forwards)
            ready.set()
            await asyncio_wait(over)

    def run() -> None:
        try:
            asyncio.run(publish())
        except BaseException as error:
            problems.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.wait()
        assert problems == []
        yield
    finally:
        over.set()
        thread.join()


def in_thread(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Playwright has a loop in this one."""
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()


async def asyncio_wait(event: threading.Event) -> None:
    await asyncio.get_running_loop().run_in_executor(None, event.wait)


# -- what happens is seen


def test_a_stream_appears_moves_and_is_ended(chain: Chain, look: Callable[..., View]) -> None:
    view = look(address_of(chain.b), "#streams")
    expect(view["#streams .none"]).to_have_text("No stream is open.")
    client, service = chain.stream()
    row = view.row("streams", "gpu1:8000")
    expect(row.locator("th .upper")).to_have_text("client")
    expect(view["#total-streams"]).to_have_text("1")
    rate = row.locator("td.rate")
    moving = re.compile(r"^[1-9][\d.]* .?i?B/s$")
    with moved(client, service):
        expect(rate).to_have_text(moving)
        expect(view["#rate-there"]).to_have_text(moving)
    expect(rate).to_have_text("0 B/s")
    row.get_by_role("button", name="End stream client → gpu1:8000").click()
    dialog = view.page.get_by_role("dialog", name="End this stream?")
    dialog.get_by_role("button", name="Keep it").click()
    client.sendall(b"x")
    assert service.recv(1) == b"x"
    row.get_by_role("button").click()
    dialog.get_by_role("button", name="End it").click()
    expect(view["#notice"]).to_have_text("Ended: 1 stream.")
    expect(row).to_have_count(0)
    assert is_reset(client)


@contextmanager
def moved(client: Any, service: Any) -> Iterator[None]:
    """Bytes go meanwhile."""
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            client.sendall(bytes(1000))
            left = 1000
            while left:
                left -= len(service.recv(left))
            over.wait(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_services_connections_and_events(chain: Chain, look: Callable[..., View]) -> None:
    view = look(address_of(chain.b))
    row = view.row("services", "gpu1:8000")
    expect(row.locator("th .lower")).to_have_text("available")
    expect(row.locator("td").first).to_contain_text("agent")
    expect(row.get_by_role("img")).to_have_attribute("aria-label", "nothing in the last hour")
    view.shows("Connections")
    expect(view["#connections tbody tr"]).to_have_count(2)
    expect(view.row("connections", "client")).to_contain_text(f"as {chain.site.user}")
    view.shows("Events")
    expect(view.row("events", "agent published gpu1:8000")).to_have_count(1)
    view["#events-kind"].select_option("published")
    expect(view["#events tbody tr"]).to_have_count(1)
    view["#events-search"].fill("nothing like it")
    expect(view["#events .none"]).to_contain_text("Nothing here has")
    for section in ("services", "connections", "streams", "events", "refused"):
        text = view[f"#{section}"].text_content().lower()
        assert not re.search(r"\b(legs?|splices?|seal(ed)?)\b", text), section


def test_a_service_that_does_not_answer_says_why(site: Site, look: Callable[..., View]) -> None:
    chain = start_chain(
        site, b_options=HTTP,
        c_options=("--check", "tcp", "--check-interval", "0.2", "--check-count", "1"),
    )  # fmt: skip
    view = look(address_of(chain.b))
    state = view.row("services", "gpu1:8000").locator("th .lower")
    expect(state).to_have_text("available")
    chain.service.close()
    expect(state).to_contain_text("does not answer: connection refused")


def test_refused_logins_are_counted_by_source(site: Site, look: Callable[..., View]) -> None:
    server = relay_server(site, *HTTP)
    stranger = asyncssh.generate_private_key("ssh-ed25519")

    async def try_it() -> None:
        with suppress(asyncssh.PermissionDenied):
            await asyncssh.connect(
                "127.0.0.1", server.port, username="<img src=x onerror=alert(1)>",
                client_keys=[stranger], known_hosts=None, config=None,
            )  # fmt: skip

    in_thread(try_it)
    view = look(address_of(server), "#events")
    expect(view.row("events", "unknown key")).to_contain_text("login refused")


# -- the server goes


def test_the_server_dies_and_comes_back(site: Site, look: Callable[..., View]) -> None:
    server = relay_server(site, *HTTP)
    address = address_of(server)
    view = look(address, "#events")
    expect(view.row("events", "the server has started")).to_have_count(1)
    server.process.signal(signal.SIGKILL)
    expect(view["#state"]).to_have_text("not connected")
    expect(view["#banner"]).to_be_visible()
    expect(view["#banner"]).to_contain_text("The server is lost since")
    relay_server(site, "--http", address)
    expect(view["#state"]).to_have_text("live")
    expect(view["#banner"]).to_be_hidden()
    expect(view["#notice"]).to_contain_text("The server is back since")
    # What happened before is still told.
    expect(view.row("events", "the server has started")).to_have_count(2)


def test_a_server_that_stands_still_is_lost(site: Site, look: Callable[..., View]) -> None:
    server = relay_server(site, *HTTP)
    view = look(address_of(server))
    server.process.signal(signal.SIGSTOP)
    expect(view["#banner"]).to_contain_text("it says nothing")
    server.process.signal(signal.SIGCONT)
    expect(view["#state"]).to_have_text("live")
    expect(view["#banner"]).to_be_hidden()
    # It may have had a question of ours for too long.
    assert all("503" in error for error in view.errors)
    view.errors.clear()


# -- ten thousand


@pytest.mark.slow
def test_ten_thousand_services(site: Site, look: Callable[..., View]) -> None:
    server = relay_server(site, *HTTP, "--services-per-key", "20000")
    names = [f"node{number:05}" for number in range(10_000)]
    with publishing(site, server, names):
        view = look(address_of(server))
        shown, rows = view["#services > .pager .shown"], view["#services > .scroll tbody tr"]
        expect(shown).to_have_text("1\u201325 of 10,000 services")
        expect(rows).to_have_count(25)
        view["#services > .pager"].get_by_role("button", name="Next").click()
        expect(shown).to_have_text("26\u201350 of 10,000 services")
        expect(rows.first).to_contain_text("node00025:8000")
        view["#services > .scroll"].get_by_role("button", name="Service", exact=True).click()
        expect(rows.first).to_contain_text("node09999:8000")
        view["#services-search"].fill("NODE07777")
        expect(shown).to_have_text("1\u20131 of 1 services")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text("node07777:8000")


# -- strangers choose names

EVIL: Final = "<img src=x onerror=document.title='hit'>"


def test_names_are_text(site: Site, look: Callable[..., View]) -> None:
    """Of keys, users, services and programs, wherever they stand."""
    server = relay_server(site, *HTTP)
    site.key("many", options=None)
    public = " ".join(site.public("many").read_text().split()[:2])
    site.authorize(f"{public} {EVIL} </td><script>document.title='hit'</script>\n")
    service = "<script>document.title='hit'<"
    with publishing(site, server, [service], username=EVIL, client_version="<b>x"):
        view = look(address_of(server))
        expect(view.row("services", service)).to_contain_text(EVIL)
        view.row("services", service).get_by_role("button").click()
        expect(view["#kick-name"]).to_have_text(f"{service}:8000")
        view.page.keyboard.press("Escape")
        view.shows("Connections")
        expect(view.row("connections", EVIL)).to_contain_text(f"as {EVIL}")
        view.row("connections", EVIL).get_by_role("button").click()
        expect(view["#kick-name"]).to_contain_text(EVIL)
        view.page.keyboard.press("Escape")
        view.shows("Events")
        expect(view.row("events", f"published {service}")).to_contain_text(EVIL)
        assert view["main img, main script, main b, dialog img"].count() == 0
        assert view.page.title().startswith("relay-server")


def test_no_script_of_others_would_run(site: Site, look: Callable[..., View]) -> None:
    """If a name became markup all the same."""
    view = look(address_of(relay_server(site, *HTTP)))
    view.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', `<img src=x onerror='hit=1'>`)"
    )
    view.page.evaluate("document.body.append(Object.assign(document.createElement('script'), "
                       "{text: 'hit = 1'}))")  # fmt: skip
    assert view.page.evaluate("typeof hit") == "undefined"
    refused = [error for error in view.errors if "Content Security Policy" in error]
    assert len(refused) >= 2
    view.errors.clear()


# -- without a mouse, without eyes, without daylight


def test_by_keyboard_alone(chain: Chain, look: Callable[..., View]) -> None:
    client, _ = chain.stream()
    view = look(address_of(chain.b))
    expect(view["#services tbody tr"]).to_have_count(1)
    keyboard = view.page.keyboard

    def tab_to(text: str) -> None:
        for _ in range(60):
            keyboard.press("Tab")
            focus = view.page.evaluate(
                "(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()"
            )
            if focus == text:
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert view.page.evaluate(outline) != "none"
                return
        raise AssertionError(f"no way to {text!r} by the tab key")

    tab_to("Skip to the tables")
    tab_to("Open streams")
    keyboard.press("Enter")
    head = view["#streams thead th"].first
    expect(view["#streams tbody tr"]).to_have_count(1)
    expect(head).to_have_attribute("aria-sort", "none")
    tab_to("Who")
    keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    keyboard.press("Space")
    expect(head).to_have_attribute("aria-sort", "descending")
    button = "End stream client → gpu1:8000"
    tab_to(button)
    keyboard.press("Enter")
    focused = view.page.locator(":focus")
    expect(focused).to_have_text("Keep it")
    keyboard.press("Escape")
    expect(view["#kick"]).to_be_hidden()
    expect(focused).to_have_accessible_name(button)
    keyboard.press("Enter")
    keyboard.press("Tab")
    expect(focused).to_have_text("End it")
    keyboard.press("Enter")
    expect(view["#notice"]).to_have_text("Ended: 1 stream.")
    assert is_reset(client)


def test_for_a_screen_reader(chain: Chain, look: Callable[..., View]) -> None:
    client, service = chain.stream()
    view = look(address_of(chain.b))
    assert view.page.evaluate("document.documentElement.lang") == "en"
    for link, caption in [
        ("Services", "Published services"),
        ("Connections", "Connections"),
        ("Open streams", "Open streams"),
        ("Events", "Events of the last days"),
    ]:
        view.shows(link)
        table = view.page.get_by_role("table", name=caption)
        expect(table.get_by_role("rowheader").first).to_be_visible()
        heads = table.get_by_role("columnheader")
        assert all(heads.nth(place).inner_text().strip() for place in range(heads.count()))
        expect(view["nav a[aria-current=page]"]).to_have_text(link)
        for element in view.page.get_by_role("button").all():
            assert element.evaluate("one => (one.ariaLabel ?? one.textContent).trim()")
    expect(view.page.get_by_role("status").first).to_have_text("live")
    assert view["#state"].get_attribute("aria-live") == "polite"
    expect(view.page.get_by_label("Search").last).to_be_attached()
    client.close(), service.close()


CONTRAST: Final = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = numbers(color).map((one) => {
      const part = one / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (numbers(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const low = [];
  for (const one of document.querySelectorAll("body *:not(script):not(noscript)")) {
    const texts = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!texts || !one.checkVisibility() || one.disabled) continue;
    const [text, behind] = [light(getComputedStyle(one).color), light(ground(one))];
    const contrast = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
    if (contrast < 4.5) low.push(`${one.textContent}: ${contrast.toFixed(2)}`);
  }
  return low;
}"""
"""WCAG 2.2 §1.4.3, of all text that is shown."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(chain: Chain, look: Callable[..., View], scheme: str) -> None:
    view = look(address_of(chain.b), color_scheme=scheme)
    expect(view["#services tbody tr"]).to_have_count(1)
    ground = "getComputedStyle(document.body).backgroundColor"
    colour = view.page.evaluate(ground)
    assert (int(re.findall(r"\d+", colour)[0]) > 128) is (scheme == "light")
    for link in ("Services", "Connections", "Events"):
        view.shows(link)
        assert view.page.evaluate(CONTRAST) == []
    other = "dark" if scheme == "light" else "light"
    switch = view.page.get_by_role("button", name="Theme: system")
    switch.click()
    switch = view.page.get_by_role("button", name="Theme: light")
    if other == "dark":
        switch.click()
        expect(view["#theme"]).to_have_text("Theme: dark")
    assert view.page.evaluate(ground) != colour
    view.page.reload()
    expect(view["#theme"]).to_have_text(f"Theme: {other}")
    assert view.page.evaluate(ground) != colour


def test_on_a_phone(chain: Chain, look: Callable[..., View]) -> None:
    view = look(address_of(chain.b), viewport={"width": 360, "height": 740}, is_mobile=True)
    for link in ("Services", "Connections", "Open streams", "Events", "Refused logins"):
        view.shows(link)
        assert view.page.evaluate("document.documentElement.scrollWidth") <= 360
    view.shows("Services")
    row = view.row("services", "gpu1:8000")
    expect(row.locator("td.rate")).to_be_in_viewport()


# -- the README's pictures


@pytest.mark.skipif("not config.getoption('--pictures')", reason="--pictures draws them anew")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures(site: Site, look: Callable[..., View], scheme: str) -> None:
    began = int(time.time() // MINUTE)
    store = Store(site.folder / "state" / FILE_NAME)
    names = ["embeddings", "gpu1", "gpu2", "staging-db", "whisper"]
    for number, name in enumerate(names):
        store.write(Batch(rates=_an_hour(number, f"{name}:8000", began)))
    store.write(Batch(rates=_an_hour(9, "", began)))
    store.close()
    chain = start_chain(site, b_options=HTTP)
    with publishing(site, chain.b, names[:1] + names[2:]):
        client, service = chain.stream()
        others = [dial(chain.port) for _ in range(3)]
        view = look(address_of(chain.b), color_scheme=scheme,
                    viewport={"width": 1180, "height": 720})  # fmt: skip
        expect(view["#services tbody tr"]).to_have_count(5)
        with moved(client, service):
            expect(view.row("services", "gpu1:8000").locator("td.rate")).to_have_text(
                re.compile("KiB/s")
            )
            view["#host"].evaluate("one => one.textContent = 'b.example.org'")
            PICTURES.mkdir(exist_ok=True)
            view.page.screenshot(path=PICTURES / f"page-{scheme}.png")
        for one in others:
            one.close()


def _an_hour(number: int, name: str, end: int) -> list[Rate]:
    """Something to see."""
    rates = []
    for minute in range(end - 60, end):
        wave = 1 + math.sin((minute + 17 * number) / (5 + number)) * math.cos((minute + number) / 3)
        there = int(wave * (1 + number) * 4e6)
        rates.append(Rate(name, minute, there, int(wave * wave * (1 + number) * 3e7), number))
    return rates
