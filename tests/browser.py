"""A real browser for the tests of pages, what it complained of, and what is wrong on a page."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# Widest first: `chromium` is Debian's.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# axe-core 4.14.1, MPL-2.0, https://github.com/dequelabs/axe-core, as npm has it.
_AXE = Path(__file__).parent / "report" / "axe.min.js"
_LEVELS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


def find_chromium() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextmanager
def open_chromium(*switches: str) -> Iterator:
    """A headless Chromium of playwright's, for as many pages as are wanted."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu", *switches]
        )
        yield browser
        browser.close()


@dataclass
class Complaints:
    """What a page wrote to the console, threw, and asked the network for."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def open_file(browser, path: Path, width: int = 1280, **options) -> Iterator:
    """A page of a file and what it complains of; both are closed afterwards."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, reduced_motion="reduce", **options
    )
    page = context.new_page()
    complaints = Complaints()
    page.on("console", lambda message: complaints.errors.append(message.text))
    page.on("pageerror", lambda error: complaints.errors.append(str(error)))
    page.on("request", lambda request: complaints.requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    yield page, complaints
    context.close()


def find_violations(page, rules: Sequence[str] = _LEVELS) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA, or against some rules of its alone."""
    page.evaluate(_AXE.read_text())
    found = page.evaluate(
        "rules => axe.run({ runOnly: rules, resultTypes: ['violations'] })", list(rules)
    )
    return [
        f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def find_overlaps(page) -> list[str]:
    """Elements beside each other that overlap, and what runs out of the page or of its own box."""
    return page.evaluate(_OVERLAPS)


def tab_through(page, limit: int = 1000) -> list[str]:
    """What Tab does not reach or reaches without showing it, of all that can be used by hand."""
    page.evaluate(_NUMBER_WHAT_CAN_BE_USED)
    reached: set[str] = set()
    unmarked = set()
    for _ in range(limit):
        page.keyboard.press("Tab")
        now = page.evaluate(_FOCUSED)
        if now is None or now["number"] in reached:
            break
        reached.add(now["number"])
        if not now["isMarked"]:
            unmarked.add(now["words"])
    missed = page.evaluate(_NOT_AMONG, sorted(reached))
    return [f"not reached: {one}" for one in missed] + [f"not marked: {one}" for one in unmarked]


_OVERLAPS = """() => {
  const found = [];
  const nameOf = element => element.tagName.toLowerCase() + "." + element.className + " "
    + (element.textContent || "").trim().slice(0, 40);
  const isShown = element => {
    const style = getComputedStyle(element);
    return !/^(none|contents|inline.*)$/.test(style.display) && style.visibility !== "hidden"
      && !["absolute", "fixed", "sticky"].includes(style.position)
      && element.getBoundingClientRect().width > 0;
  };
  const isClipped = element => element.closest(".scroll, svg, .unseen, pre, .legend-of-map, .skip");
  const { scrollWidth } = document.documentElement;
  if (scrollWidth > innerWidth) found.push("the page is wider than the window");
  for (const parent of document.querySelectorAll("body *")) {
    if (parent.closest("svg, [hidden], .unseen")) continue;
    const box = parent.getBoundingClientRect();
    if (box.width && !isClipped(parent) && (box.right > innerWidth + 1 || box.left < -1)) {
      found.push("out of the page: " + nameOf(parent));
    }
    if (parent.matches("td, th")) {
      for (const inner of parent.querySelectorAll("*")) {
        const own = inner.getBoundingClientRect();
        if (own.right > box.right + 1 || own.left < box.left - 1) {
          found.push("out of its cell: " + nameOf(inner));
        }
      }
    }
    const overflow = getComputedStyle(parent).overflowX;
    if (isShown(parent) && overflow === "visible" && parent.clientWidth
        && parent.scrollWidth > parent.clientWidth + 1 && !parent.closest("table")) {
      found.push("out of its box: " + nameOf(parent));
    }
    const children = [...parent.children].filter(isShown)
      .map(child => [child, child.getBoundingClientRect()]);
    if (children.length > 300) continue;
    children.forEach(([one, a], i) => children.slice(i + 1).forEach(([other, b]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 1) found.push("overlap: " + nameOf(one) + " / " + nameOf(other));
    }));
  }
  return found;
}"""

_NUMBER_WHAT_CAN_BE_USED = """() => {
  const kinds = "a[href], button, select, input, textarea, summary, [tabindex]";
  const canBeUsed = one => one.tabIndex >= 0 && !one.disabled && one.checkVisibility();
  [...document.querySelectorAll(kinds)].filter(canBeUsed)
    .forEach((element, number) => { element.dataset.usable = String(number); });
  document.activeElement.blur();
}"""

_FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element);
  return {
    number: element.dataset.usable || "none",
    words: element.outerHTML.slice(0, 120),
    isMarked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
  };
}"""

_NOT_AMONG = """reached => [...document.querySelectorAll("[data-usable]")]
  .filter(element => !reached.includes(element.dataset.usable))
  .map(element => element.outerHTML.slice(0, 120))"""
