#!/usr/bin/env python3
"""The server under load and through its life: the LD cases that need no GPU.

load.py BINARY [--model NAME=DIR]... [--seconds 60] [--requests 100000] [--cancels 10000] [--only ld_01]
"""

import load_life
import load_rates
from harness import cases_of, options, run_cases


def main():
    found = options(
        __doc__.splitlines()[0],
        seconds=dict(type=float, default=5),
        requests=dict(type=int, default=3000),
        cancels=dict(type=int, default=1000),
    )
    run_cases(
        found,
        cases_of(load_rates, load_life, prefix="ld_")
        + [
            ("throughput", load_rates.throughput),
            ("slow_connections", load_rates.slow_connections),
            ("ten_thousand_cancels", load_life.ten_thousand_cancels),
        ],
    )


if __name__ == "__main__":
    main()
