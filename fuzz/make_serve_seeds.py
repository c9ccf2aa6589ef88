#!/usr/bin/env python3
"""Writes the seeds of fuzz/serve_request.cpp: make_serve_seeds.py [FOLDER]"""
import pathlib
import sys

HEAD = (b"POST /v1/translate HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
        b"Content-Length: 13\nX-Request-Id: a-1\n\n")
SEEDS = {
    "plain": b'\0{"text": "The disk is full."}',
    "everything": b'\0{"model": "en-pt", "text": ["a\\nb", "c\\r\\n"], "options": {"beam": 4, "n_best": 2, '
                  b'"length_penalty": 0.6, "max_length": 9, "scores": true, "prefix": "d"}, '
                  b'"deadline_ms": 500, "stream": true}',
    "unknown_field": b'\0{"text": "a", "beam": 1}',
    "wrong_type": b'\0{"text": ["a", 1]}',
    "lone_surrogate": b'\0{"text": "\\ud800"}',
    "depth": b'\0{"text": ' + b"[" * 70 + b"]" * 70 + b"}",
    "form": b"\1q=caf%C3%A9+au%0Alait&source=auto&target=pt&format=text&api_key=k",
    "form_broken": b"\1q=%f&source=en&target=pt",
    "libre": b'\2{"q": ["a", "b"], "source": "en", "target": "pt", "alternatives": 1}',
    "head": b"\3" + HEAD,
    "head_chunked": b"\3" + HEAD.replace(b"Content-Length: 13", b"Transfer-Encoding: chunked"),
    "head_both": b"\3" + HEAD.replace(b"X-Request-Id: a-1", b"Transfer-Encoding: chunked"),
    "head_absolute": b"\3GET http://[::1]:80/health?a=%41 HTTP/1.1\nHost: [::1]:80\nAccept: text/event-stream\n\n",
}


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus/serve_request")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in SEEDS.items():
        (folder / name).write_bytes(text)
    print(f"{len(SEEDS)} seeds in {folder}")


if __name__ == "__main__":
    main()
