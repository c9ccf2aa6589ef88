#!/usr/bin/env python3
"""LibreTranslate's own Python client, unmodified (PyPI libretranslatepy), against `heddle serve`.

libretranslate.py BINARY [--model NAME=DIR]...
"""

import urllib.error

import wire
from compliance import expect
from harness import offline, options, run_cases

try:
    from libretranslatepy import LibreTranslateAPI
except ImportError:
    raise SystemExit("libretranslate.py: no module libretranslatepy; type: pip install libretranslatepy")

TEXT = "The disk is full."


def pair(context):
    return context.options.name.split("-")


def translates(context):
    source, target = pair(context)
    api = LibreTranslateAPI(f"http://127.0.0.1:{context.server().port}/")
    found = api.translate(TEXT, source, target)
    expect(found == offline(context.options, [TEXT])[0], found)
    return repr(found)


def lists_languages(context):
    source, target = pair(context)
    found = LibreTranslateAPI(f"http://127.0.0.1:{context.server().port}/").languages()
    (entry,) = [language for language in found if language["code"] == source]
    expect(target in entry["targets"] and entry["name"], found)


def uses_a_key(context):
    source, target = pair(context)
    url = f"http://127.0.0.1:{context.server('--api-key-file', context.file('key', 'the-key')).port}/"
    expect(LibreTranslateAPI(url, "the-key").translate(TEXT, source, target), "no translation")
    try:
        LibreTranslateAPI(url, "another").translate(TEXT, source, target)
    except urllib.error.HTTPError as error:
        expect(error.code in (401, 403), error.code)
    else:
        raise AssertionError("a wrong key is taken")


def detects_by_target(context):
    source, target = pair(context)
    port = context.server().port
    body = {"q": [TEXT, "a b"], "source": "auto", "target": target}
    reply = wire.ask(port, "POST", "/translate", body)
    expect(reply.status == 200, reply.body)
    expect(isinstance(reply.json()["translatedText"], list) and len(reply.json()["translatedText"]) == 2, reply.body)
    found = reply.json()["detectedLanguage"]
    found = found[0] if isinstance(found, list) else found
    expect(found["language"] == source, found)


def refuses_as_libretranslate_does(context):
    source, target = pair(context)
    port = context.server().port
    for body in (
        {"q": "a", "source": source, "target": "xx"},
        {"q": "a", "source": source},
        {"source": source, "target": target},
        {"q": "a", "source": source, "target": target, "format": "html"},
    ):
        reply = wire.ask(port, "POST", "/translate", body)
        expect(reply.status == 400 and isinstance(reply.json()["error"], str), (body, reply.status, reply.body))
    form = f"q=a%20b%2Bc+d&source={source}&target={target}".encode()
    reply = wire.ask(port, "POST", "/translate", form, ["Content-Type: application/x-www-form-urlencoded"])
    expect(
        reply.status == 200 and reply.json()["translatedText"] == offline(context.options, ["a b+c d"])[0], reply.body
    )


if __name__ == "__main__":
    run_cases(
        options(__doc__.splitlines()[0]),
        [
            (case.__name__, case)
            for case in (translates, lists_languages, uses_a_key, detects_by_target, refuses_as_libretranslate_does)
        ],
    )
