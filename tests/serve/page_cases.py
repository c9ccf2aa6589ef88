"""The page against a stand-in for the server: hostile text in every field, and refusals (promise 19, HT-21)."""

import json
import time

from echo_stub import EchoStub

PWN = "window.pwned=(window.pwned||0)+1,alert(1)"
PAYLOADS = [
    f"<script>{PWN}</script>",
    f'<img src=x onerror="{PWN}">',
    f"<svg/onload={PWN}>",
    f"javascript:{PWN}",
    f'"><script>{PWN}</script>',
    f"'-{PWN}-'",
    f"</textarea><script>{PWN}</script>",
    f"</output><img src=x onerror={PWN}>",
    f'<iframe srcdoc="<script>parent.{PWN}</script>">',
    f"\u2028{PWN}\u2029",
    f'<a href="javascript:{PWN}">x</a>',
    f"<style>@import 'javascript:{PWN}'</style>",
    f"${{{PWN}}}",
    f"{{{{{PWN}}}}}",
    f"<math><mtext><table><mglyph><style><img src=x onerror={PWN}>",
    f"<body onload={PWN}>",
    "\u202e<b>gnp.exe",
    f"data:text/html,<script>{PWN}</script>",
]


def check_events(events, url):
    """Fails for a dialog, an error or a request to another host among the browser's events."""
    own = f"127.0.0.1:{url}" if isinstance(url, int) else url.removeprefix("http://")
    for event in events:
        name, data = event.get("method"), event.get("params", {})
        assert name != "Page.javascriptDialogOpening", "a payload ran"
        assert name != "Runtime.exceptionThrown", f"an error in the page: {json.dumps(data)[:400]}"
        if name == "Network.requestWillBeSent":
            asked = data["request"]["url"]
            assert asked.startswith((f"http://{own}/", f"blob:http://{own}/", "about:")), f"the page asks for {asked}"
        if name == "Log.entryAdded":
            text = data["entry"].get("text", "")
            assert "Content Security Policy" not in text and "Refused to" not in text, f"the policy was broken: {text}"


def opened(context, stub):
    return context.open_page(context, stub.url)


def safe(browser, stub):
    browser.drain(0.3)
    check_events(browser.events, stub.url)
    assert browser.run("window.pwned") is None, "a payload ran"
    names = browser.run(
        "[...new Set([...document.querySelectorAll('body *')].map(e => e.localName))].join(' ')"
    ).split()
    strange = {"script", "iframe", "math", "style", "body", "b", "table"} & set(names)
    assert not strange, strange
    assert browser.run("document.querySelectorAll('img').length") == 1, "an image from outside"


def source_and_translation(context, stub, browser):
    text = "\n".join(PAYLOADS)
    browser.run(f"document.getElementById('source').value = {json.dumps(text)}")
    browser.run("document.getElementById('source').dispatchEvent(new Event('input'))")
    browser.until("document.getElementById('target').textContent.includes('gnp.exe')")
    assert browser.run("document.getElementById('target').children.length") == 0, "markup in the translation"
    browser.run("document.getElementById('swap').click()")
    time.sleep(0.3)
    safe(browser, stub)


def page_xss_in_source_and_translation(context):
    stub = EchoStub()
    try:
        source_and_translation(context, stub, opened(context, stub))
    finally:
        stub.close()
    return f"{len(PAYLOADS)} payloads"


def page_xss_in_translation_alone(context):
    stub = EchoStub(lambda line: PAYLOADS[int(line)])
    try:
        browser = opened(context, stub)
        text = "\n".join(str(i) for i in range(len(PAYLOADS)))
        browser.run(f"document.getElementById('source').value = {json.dumps(text)}")
        browser.run("document.getElementById('source').dispatchEvent(new Event('input'))")
        browser.until("document.getElementById('target').textContent.includes('gnp.exe')")
        safe(browser, stub)
    finally:
        stub.close()


def page_xss_in_file_names_and_files(context):
    stub = EchoStub()
    try:
        browser = opened(context, stub)
        for payload in PAYLOADS:
            name = json.dumps(payload + ".txt")
            browser.run(f"""(() => {{
                const data = new DataTransfer();
                data.items.add(new File([{json.dumps(payload)}], {name}));
                dispatchEvent(new DragEvent('drop', {{dataTransfer: data, cancelable: true, bubbles: true}}));
            }})()""")
            browser.until("document.getElementById('job-state').textContent.startsWith('Done')")
            assert browser.run("document.getElementById('job-name').textContent") == payload + ".txt"
            assert browser.run("document.getElementById('job-name').children.length") == 0
        safe(browser, stub)
    finally:
        stub.close()


def page_xss_in_errors(context):
    stub = EchoStub()
    try:
        browser = opened(context, stub)
        for i, payload in enumerate(PAYLOADS):
            stub.refusals = [(422, payload, [])]
            browser.run(f"document.getElementById('source').value = 'a {i}'")
            browser.run("document.getElementById('source').dispatchEvent(new Event('input'))")
            browser.until(f"document.getElementById('notice').textContent === {json.dumps(payload)}")
            assert browser.run("document.getElementById('notice').children.length") == 0
        safe(browser, stub)
    finally:
        stub.close()


def page_xss_in_model_names(context):
    stub = EchoStub()
    stub.models = [{"name": payload, "source": None, "target": None} for payload in PAYLOADS]
    stub.models += [{"name": "x", "source": payload, "target": payload} for payload in PAYLOADS]
    try:
        browser = opened(context, stub)
        browser.until(f"document.getElementById('from').options.length >= {len(PAYLOADS)}")
        safe(browser, stub)
    finally:
        stub.close()


def page_xss_in_the_query(context):
    stub = EchoStub()
    try:
        for payload in PAYLOADS:
            browser = context.open_page(context, f"{stub.url}/?text={payload}&q={payload}&source={payload}#{payload}")
            safe(browser, stub)
    finally:
        stub.close()


def say(browser, text):
    browser.run(f"document.getElementById('source').value = {json.dumps(text)}")
    browser.run("document.getElementById('source').dispatchEvent(new Event('input'))")


def page_waits_when_the_server_is_busy(context):
    stub = EchoStub(str.upper)
    try:
        browser = opened(context, stub)
        for status in (429, 503):
            stub.refusals = [(status, "later", [("Retry-After", "1")])]
            started = time.monotonic()
            say(browser, f"word {status}")
            browser.until("document.getElementById('notice').textContent.includes('Trying again in 1 s')")
            browser.until(f"document.getElementById('target').textContent === 'WORD {status}'")
            assert time.monotonic() - started >= 1, "came back before Retry-After"
            assert browser.run("document.getElementById('notice').hidden"), "the notice stays"
    finally:
        stub.close()


def page_asks_for_a_key(context):
    stub = EchoStub(str.upper)
    try:
        stub.refusals = [(401, "no key", [])]
        browser = context.browser
        browser.open("about:blank")
        browser.open(stub.url + "/")
        browser.until("!document.getElementById('key-form').hidden")
        assert browser.run("document.activeElement.id") == "key", "the field is not focused"
        browser.type("the-key")
        browser.press("Enter", 13)
        browser.run("document.getElementById('key-form').requestSubmit()")
        browser.until("document.getElementById('key-form').hidden && document.getElementById('from').value")
        say(browser, "a word")
        browser.until("document.getElementById('target').textContent === 'A WORD'")
        assert stub.requests[-1][0].get("Authorization") == "Bearer the-key", stub.requests[-1][0]
        assert browser.run("localStorage.length + document.cookie.length") == 0, "the key is kept elsewhere"
        browser.run("sessionStorage.clear()")
    finally:
        stub.close()


def page_is_honest_when_the_server_is_gone(context):
    stub = EchoStub(str.upper)
    browser = opened(context, stub)
    port = stub.server.server_port
    stub.close()
    say(browser, "after the end")
    browser.until("document.getElementById('notice').textContent.includes(\"can't be reached\")")
    assert browser.run("document.getElementById('server').textContent") == "Not ready"
    stub = EchoStub(str.upper, port)
    try:
        browser.until("document.getElementById('target').textContent === 'AFTER THE END'")
    finally:
        stub.close()


def page_refuses_files_that_are_not_text(context):
    stub = EchoStub()
    try:
        browser = opened(context, stub)
        browser.run("""(() => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array([0x50, 0x4b, 3, 4, 0xff, 0xfe, 0x80])], 'book.docx'));
            dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true, bubbles: true}));
        })()""")
        browser.until("document.getElementById('notice').textContent === 'This file is not UTF-8 text.'")
        assert browser.run("document.getElementById('job-save').hidden")
    finally:
        stub.close()
