"""The threads of a process: their number, callers at the same time, forked children."""

import os
import threading
import time

import numpy as np
import pytest

import heddle
from oracle import inputs


@pytest.fixture(autouse=True)
def two_threads():
    heddle.set_num_threads(2)
    yield
    heddle.set_num_threads(0)


def test_number_of_threads_changes_no_bit():
    arrays = inputs(np.random.default_rng(0), 2, 200, 200, 4, 2, 16)
    results = []
    for threads in (1, 2, 3):
        heddle.set_num_threads(threads)
        assert heddle.get_num_threads() == threads
        results.append(heddle.flashmask_attention(*arrays, causal=True))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    with pytest.raises(ValueError, match="threads: found -1; expected 0"):
        heddle.set_num_threads(-1)


def test_many_callers_at_once():
    arrays = inputs(np.random.default_rng(1), 1, 100, 100, 2, 2, 16)
    expected = heddle.flashmask_attention(*arrays, causal=True)
    wrong = []

    def call():
        for threads in (1, 2, 3):
            heddle.set_num_threads(threads)
            if not np.array_equal(heddle.flashmask_attention(*arrays, causal=True), expected):
                wrong.append(threads)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_the_interpreter_runs_on_meanwhile():
    arrays = inputs(np.random.default_rng(2), 1, 600, 600, 4, 4, 64)
    done = threading.Event()
    ticks = []

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(1e-4)

    ticker = threading.Thread(target=tick)
    ticker.start()
    begin = time.perf_counter()
    while time.perf_counter() < begin + 0.05 or len(ticks) < 3:
        start = time.perf_counter()
        heddle.flashmask_attention(*arrays)
        end = time.perf_counter()
    done.set()
    ticker.join()
    assert sum(start < t < end for t in ticks) >= 1


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_child_has_threads_of_its_own():
    arrays = inputs(np.random.default_rng(3), 1, 100, 100, 2, 2, 16)
    expected = heddle.flashmask_attention(*arrays, causal=True)
    child = os.fork()
    if child == 0:
        same = np.array_equal(heddle.flashmask_attention(*arrays, causal=True), expected)
        os._exit(0 if same and heddle.get_num_threads() == 2 else 1)
    for _ in range(500):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert status == 0
