"""What a command that serves one text does without: it would take longer to import than the text to read."""

import subprocess
import sys

import pytest

HEAVY = ("datasets", "evaluate", "pandas", "pyarrow", "sklearn", "scipy.stats", "matplotlib", "transformers.trainer")


@pytest.mark.parametrize("command", ["predict.predict", "serve.serve", "explain", "generate"])
def test_serving_imports_no_data_set_library(command):
    code = f"import sys, latadj.commands.{command}; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
