"""The Python example runs and ends well."""

import pathlib
import subprocess
import sys

import pytest

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "mask_and_attention.py"


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not beside the tests")
def test_mask_and_attention():
    result = subprocess.run([sys.executable, EXAMPLE], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "out - v = 0.0" in result.stdout and result.stdout.endswith(": agree\n")
