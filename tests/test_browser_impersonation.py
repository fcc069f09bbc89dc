"""``<authkit-impersonation>`` in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chromium import PROGRAM, Chromium
from tests.page_site import Site, Visit, running_site, visiting
from tests.servers import until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")

REASON: Final = "Ticket 12: the invoice"
PHONE, DESKTOP = 390, 1280

#: The part of the element that a selector finds.
PART: Final = (
    "document.querySelector('authkit-impersonation').shadowRoot?.querySelector('{}')"
)
SHOWN: Final = "document.querySelector('authkit-impersonation').offsetParent !== null"
#: Comes when what follows from a change of sizes has been drawn.
SETTLED: Final = (
    "new Promise((then) => requestAnimationFrame(() => requestAnimationFrame("
    "() => setTimeout(then))))"
)
#: What a press of a key goes to.
FOCUS: Final = (
    "(({ id, shadowRoot }) => (shadowRoot?.activeElement?.ariaLabel"
    " ?? shadowRoot?.activeElement?.textContent ?? id))(document.activeElement)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def visit(site: Site, tmp_path: Path) -> Iterator[Visit]:
    with visiting(site, tmp_path) as visit:
        yield visit
        assert visit.problems == []


def part(selector: str) -> str:
    return PART.format(selector)


def impersonate(visit: Visit, page: str = "/") -> Any:
    """Sign support in as Ada and wait until the page says so."""
    session = visit.sign_in(
        return_to=page,
        impersonator_email="support@example.com",
        impersonator_reason=REASON,
    )
    visit.browser.until(f"{part('.text')}?.textContent.includes('Acme')")
    return session


def test_frame_is_not_there_for_who_is_only_oneself(visit: Visit) -> None:
    visit.sign_in()
    visit.browser.until("authkit.getState().user")

    assert not visit.browser.evaluate(part("*"))
    style = "getComputedStyle(document.querySelector('authkit-impersonation')).display"
    assert visit.browser.evaluate(style) == "none"
    names = [name for _, name in visit.browser.accessible]
    assert not any("mpersonat" in name for name in names)


def test_frame_says_who_it_is_where_and_why(visit: Visit) -> None:
    impersonate(visit)

    accessible = visit.browser.accessible
    assert ("region", "Impersonation") in accessible
    assert ("button", "Stop") in accessible
    text = visit.browser.evaluate(f"{part('.text')}.textContent")
    for said in ("ada@example.com", "Acme", REASON):
        assert said in text
    # As text, whatever is in it.
    assert visit.browser.evaluate(f"{part('.text')}.querySelector('script')") is None


def test_frame_is_minimised_and_stopped_by_keyboard(visit: Visit) -> None:
    session = impersonate(visit)
    tab = visit.browser
    stops = []
    while "Minimize" not in stops:
        tab.press("Tab")
        stops.append(tab.evaluate(FOCUS))
        assert len(stops) < 10, stops
    # Where it stands in the page: behind its links and buttons.
    assert stops == ["first", "", "last", "Stop", "Minimize"]

    tab.press("Enter")
    assert not tab.evaluate(f"{part('.text')}.checkVisibility()")
    assert tab.evaluate(f"{part('.fold')}.ariaExpanded") == "false"
    # It stays so on the next page of this tab.
    tab.reload()
    tab.until(f"{part('.fold')}?.ariaExpanded === 'false'")
    tab.evaluate(f"{part('.fold')}.focus()")
    tab.press("Space")
    tab.until(f"{part('.text')}.checkVisibility()")
    assert tab.evaluate(f"{part('.fold')}.ariaExpanded") == "true"

    tab.press("Shift+Tab")
    assert tab.evaluate(FOCUS) == "Stop"
    tab.press("Enter")
    # By way of WorkOS.
    assert until(lambda: session.revoked_at is not None)
    tab.until(f"location.origin === '{visit.site.url}' && !!window.authkit")
    tab.until("authkit.getState().user === null")

    assert tab.url == f"{visit.site.url}/"
    assert not tab.evaluate(part("*"))


@pytest.mark.parametrize("page", ["/", "/top"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_of_the_page_can_be_clicked_less(
    visit: Visit, width: int, page: str
) -> None:
    tab = visit.browser
    tab.emulate(width=width)
    impersonate(visit, page)
    for _ in range(2):
        tab.evaluate(SETTLED)
        tab.evaluate("clicks.length = 0")
        # The buttons reach from edge to edge; the frame lies over their ends.
        tab.evaluate("scrollTo(0, 0)")
        click_all_over(tab, "#first")
        tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        click_all_over(tab, "#last")

        assert tab.evaluate("clicks") == ["first"] * 6 + ["last"] * 6
        # And the same when it is minimised.
        tab.evaluate(f"{part('.fold')}.click()")


def click_all_over(tab: Chromium, selector: str) -> None:
    box = f"document.querySelector('{selector}').getBoundingClientRect()"
    [left, right, top, bottom] = tab.evaluate(
        f"(({{ left, right, top, bottom }}) => [left, right, top, bottom])({box})"
    )
    for y in (top + 1, bottom - 1):
        for x in (left + 1, (left + right) / 2, right - 1):
            tab.click_at(x, y)


def test_page_has_its_space_back_when_the_frame_is_gone(visit: Visit) -> None:
    visit.open()
    tab = visit.browser
    height = "document.documentElement.scrollHeight"
    before = tab.evaluate(height)
    impersonate(visit)
    tab.until(f"{height} > {before}")

    tab.evaluate("document.querySelector('authkit-impersonation').remove()")

    assert tab.evaluate(height) == before


def test_colours_have_contrast(visit: Visit) -> None:
    """4.5 to 1 for text (WCAG 2.2, 1.4.3)."""
    impersonate(visit)

    for dark, selector in product((False, True), (".text", ".stop")):
        visit.browser.emulate(dark=dark)
        style = f"getComputedStyle({part(selector)})"
        text = visit.browser.evaluate(f"{style}.color")
        own = visit.browser.evaluate(f"{style}.backgroundColor")
        bar = visit.browser.evaluate(
            f"getComputedStyle({part('.bar')}).backgroundColor"
        )
        assert contrast(text, bar if own == "rgba(0, 0, 0, 0)" else own) >= 4.5


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour[len("rgb(") : -1].split(", ")]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_nothing_moves_for_who_does_not_want_that(visit: Visit) -> None:
    visit.browser.emulate(reduced_motion=True)
    impersonate(visit)

    moving = "document.getAnimations().length"
    assert visit.browser.evaluate(moving) == 0
    visit.browser.evaluate(f"{part('.fold')}.click()")
    assert visit.browser.evaluate(moving) == 0


def test_colours_are_those_of_the_page_where_it_sets_them(visit: Visit) -> None:
    impersonate(visit)
    visit.browser.evaluate(
        "document.documentElement.style.setProperty("
        "'--authkit-impersonation-accent', 'rgb(1, 2, 3)')"
    )

    style = f"getComputedStyle({part('.frame')}).borderTopColor"
    assert visit.browser.evaluate(style) == "rgb(1, 2, 3)"


def test_outage_while_stopping_is_said_and_can_be_tried_again(visit: Visit) -> None:
    impersonate(visit)
    visit.browser.send("Network.enable")
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    visit.browser.send("Network.emulateNetworkConditions", offline=True, **offline)
    visit.browser.evaluate(f"{part('.stop')}.click()")
    visit.browser.until(f"{part('.failure')}.textContent.includes('try again')")

    visit.browser.send("Network.emulateNetworkConditions", offline=False, **offline)
    visit.browser.until(f"!{part('.stop')}.disabled")
    visit.browser.evaluate(f"{part('.stop')}.click()")

    visit.browser.until("window.authkit?.getState().user === null")
