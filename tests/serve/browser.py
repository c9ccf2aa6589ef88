#!/usr/bin/env python3
"""A real Chromium uses the page: it types, switches languages, drops files, and meets hostile text.

browser.py BINARY [--model en-pt=DIR --model pt-en=DIR] [--pictures FOLDER] [--chromium COMMAND]
"""

import json
import pathlib
import shutil
import time

import page_cases
from devtools import Browser
from harness import cases_of, eventually, offline, options, run_cases

TEXT = """The weaver sets up the loom before sunrise.

She lifts every second thread, and the cloth grows line by line. Nothing is done without need.

What you write stays on this machine."""


def page(context, url=None):
    """The browser, with the page freshly opened."""
    browser = context.browser
    browser.open("about:blank")
    browser.color_scheme("light")
    browser.events.clear()
    browser.open(url or f"http://127.0.0.1:{context.server().port}/")
    browser.until("document.getElementById('from').value")
    return browser


def value(browser, part, name="textContent"):
    return browser.run(f"document.getElementById({json.dumps(part)}).{name}")


def write(browser, text):
    browser.run("document.getElementById('source').focus()")
    browser.run("document.getElementById('source').select()")
    browser.type(text)


def expected(context, text, name=None):
    lines = text.split("\n")
    found = offline(context.options, lines, name)
    return "\n".join(out if line.strip() else "" for line, out in zip(lines, found))


def sees(browser, text):
    browser.until(f"document.getElementById('target').textContent === {json.dumps(text)}")


def inert(browser, url):
    """No script ran that is not the page's, nothing was asked of another host, no rule was broken."""
    browser.drain(0.2)
    page_cases.check_events(browser.events, url)
    assert browser.run("window.pwned") is None, "a payload ran"


def take_pictures(browser, folder):
    browser.size(1280, 640)
    for scheme in ("light", "dark"):
        browser.color_scheme(scheme)
        time.sleep(0.3)
        browser.screenshot(f"{folder}/page_{scheme}.png")
    browser.size(420, 860)
    browser.screenshot(f"{folder}/page_narrow.png")
    browser.size(1280, 800)


def types_and_sees_a_translation(context):
    browser = page(context)
    for text in ("Good morning.", TEXT):
        write(browser, text)
        sees(browser, expected(context, text))
    assert " words/s" in value(browser, "speed") and " ms" in value(browser, "speed"), value(browser, "speed")
    if context.options.pictures:
        take_pictures(browser, context.options.pictures)
    inert(browser, context.server().port)
    return value(browser, "target").split("\n")[0]


def follows_quick_typing(context):
    """The translation of what stands there at last is what stays, key by key."""
    browser = page(context)
    browser.run("document.getElementById('source').focus()")
    for word in TEXT.split("\n")[0].split(" "):
        browser.type(word + " ")
        time.sleep(0.02)
    sees(browser, expected(context, TEXT.split("\n")[0] + " "))
    write(browser, "Another line.")
    browser.press("Enter", 13, modifiers=2)
    sees(browser, expected(context, "Another line."))
    assert value(browser, "source", "value") == "Another line.", "Ctrl+Enter writes into the text"


def switches_direction(context):
    browser = page(context)
    names = list(context.options.folders)
    back = "-".join(reversed(names[0].split("-")))
    if back not in names:
        assert value(browser, "swap", "disabled"), "languages can be swapped without a model"
        return "one direction only: the button is off"
    write(browser, "The disk is full.")
    there = expected(context, "The disk is full.")
    sees(browser, there)
    browser.run("document.getElementById('swap').click()")
    browser.until(f"document.getElementById('source').value === {json.dumps(there)}")
    sees(browser, expected(context, there, back))
    assert (value(browser, "from", "value"), value(browser, "to", "value")) == tuple(back.split("-"))
    return f"{there} → {value(browser, 'target')}"


def download(context, browser, name):
    """Presses Download and returns what arrived."""
    folder = pathlib.Path(context.options.work, "downloads")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.until("!document.getElementById('job-save').hidden", 120)
    browser.run("document.getElementById('job-save').click()")
    assert eventually((folder / name).exists, 10), f"no {name}: {list(folder.iterdir())}"
    time.sleep(0.2)
    return (folder / name).read_text(encoding="utf-8")


def drops_a_file(context):
    browser = page(context)
    lines = [f"{line} {i}" for i in range(40) for line in TEXT.split("\n")]
    path = context.file("book.txt", "\n".join(lines) + "\n")
    data = {"items": [], "files": [path], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        browser.call("Input.dispatchDragEvent", type=kind, x=300, y=300, data=data)
    browser.until("!document.getElementById('drop').hidden")
    browser.call("Input.dispatchDragEvent", type="drop", x=300, y=300, data=data)
    target = context.options.name.split("-")[1]
    found = download(context, browser, f"book.{target}.txt")
    assert found == expected(context, "\n".join(lines)) + "\n", "the file differs from heddle translate"
    assert "Done: " in value(browser, "job-state"), value(browser, "job-state")
    if context.options.pictures:
        browser.screenshot(f"{context.options.pictures}/page_file.png")
    return value(browser, "job-state")


def opens_a_big_file(context):
    """A file far above the limit of a request goes in pieces; the empty lines stay."""
    browser = page(context)
    lines = [f"Line {i}, {TEXT.split(chr(10))[i % 4]}" if i % 7 else "" for i in range(2000)]
    path = context.file("long.txt", "\r\n".join(lines).replace("\r\n", "\n"))
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[path])
    found = download(context, browser, f"long.{context.options.name.split('-')[1]}.txt")
    assert found == expected(context, "\n".join(lines)), "the file differs from heddle translate"
    return value(browser, "job-state")


def copies(context):
    browser = page(context)
    origin = f"http://127.0.0.1:{context.server().port}"
    browser.call(
        "Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
    )
    browser.call("Page.bringToFront")
    write(browser, "The disk is full.")
    there = expected(context, "The disk is full.")
    sees(browser, there)
    browser.run("document.getElementById('copy').click()")
    browser.until("document.getElementById('copy').textContent === 'Copied'")
    found = browser.run("navigator.clipboard.readText()")
    assert found == there, found


def serves_the_keyboard_and_readers(context):
    """Every control has a name, Tab reaches all of them, and the focus can be seen."""
    browser = page(context)
    write(browser, "The disk is full.")
    sees(browser, expected(context, "The disk is full."))
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    controls = [
        node
        for node in nodes
        if not node.get("ignored")
        and node.get("role", {}).get("value")
        in ("button", "textbox", "combobox", "link", "status", "progressbar", "MenuListPopup")
    ]
    nameless = [
        node["role"]["value"]
        for node in controls
        if not node.get("name", {}).get("value") and node["role"]["value"] not in ("status", "MenuListPopup")
    ]
    assert controls and not nameless, nameless
    browser.run("document.activeElement.blur()")
    reached = set()
    for _ in range(16):
        browser.press("Tab", 9)
        if browser.run("document.activeElement === document.body"):
            continue  # between the last control and the first
        reached.add(browser.run("document.activeElement.id || document.activeElement.textContent"))
        seen = browser.run(
            "(s => s.outlineStyle !== 'none' || s.boxShadow !== 'none')(getComputedStyle(document.activeElement))"
        )
        assert seen, f"the focus on {browser.run('document.activeElement.outerHTML')} can't be seen"
    wanted = {"from", "source", "open", "clear", "to", "target", "copy"}
    assert wanted <= reached, wanted - reached
    assert browser.run("document.querySelector('[aria-live=polite]').id") == "target"
    return f"{len(controls)} controls named"


def main():
    found = options(__doc__.splitlines()[0], pictures=dict(default=""), chromium=dict(default="chromium"))
    if not shutil.which(found.chromium):
        raise SystemExit(f"browser.py: no {found.chromium}; type: apt-get install chromium")
    found.served = found.model
    browser = Browser(found.chromium)
    here = [
        types_and_sees_a_translation,
        follows_quick_typing,
        switches_direction,
        drops_a_file,
        opens_a_big_file,
        copies,
        serves_the_keyboard_and_readers,
    ]
    cases = [(case.__name__, case) for case in here] + cases_of(page_cases, prefix="page_")

    def with_browser(case):
        def run(context):
            context.browser = browser
            context.open_page = page
            return case(context)

        return run

    try:
        run_cases(found, [(name, with_browser(case)) for name, case in cases])
    finally:
        browser.close()


if __name__ == "__main__":
    main()
