#!/usr/bin/env python3
"""What a hostile client can send: the HT cases, and the MUST rules of HTTP/1.1, over raw sockets.

hostile.py BINARY [--model NAME=DIR]... [--only ht_05] [--idle-connections 20000]
"""

import compliance
import hostile_access
import hostile_content
import hostile_framing
import hostile_slow
from harness import cases_of, options, run_cases


def rules_of_http(context):
    """All rows of compliance.py, with deadlines short enough to wait for."""
    server = context.server(*hostile_slow.HASTE)
    found = compliance.failures(server.port)
    for section, name, problem in found:
        print(f"      RFC {section} {name}: {problem}", flush=True)
    if found:
        raise AssertionError(f"{len(found)} of {len(compliance.ROWS)} rules fail")
    return f"{len(compliance.ROWS)} rules"


def main():
    found = options(__doc__.splitlines()[0], idle_connections=dict(type=int, default=3000))
    cases = cases_of(hostile_slow, hostile_framing, hostile_content, hostile_access, prefix="ht_")
    run_cases(found, cases + [("rules_of_http", rules_of_http)])


if __name__ == "__main__":
    main()
