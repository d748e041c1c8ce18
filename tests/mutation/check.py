"""Puts small faults into the package, one at a time, and reports which of them the tests notice.

    python tests/mutation/check.py                     all faults, one after the other
    python tests/mutation/check.py --only ceil --jobs 2

Run by hand, with `make mutants`: about half an hour on two cores.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
COPIED = ("latadj", "tests", "conf", "docs", "benchmarks", "pyproject.toml", "README.md", "Makefile", "constraints.txt")


def place_of(fault: Fault) -> Path:
    """The module in which a fault's line stands.

    Raises
    ------
    ValueError
        unless it stands in the package exactly once.
    """
    found = [(path, path.read_text(encoding="utf-8").count(fault.line)) for path in (ROOT / "latadj").rglob("*.py")]
    places = [path for path, times in found if times]
    if sum(times for _, times in found) != 1:
        raise ValueError(f"{fault.name}: {fault.line!r} stands in {len(places)} modules, expected exactly one place")
    return places[0].relative_to(ROOT)


def outcome(fault: Fault, timeout_s: float) -> str:
    """``caught`` with the first test that failed, or ``SURVIVED``."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
            elif source.exists():
                shutil.copy(source, target)
        module = Path(folder) / place_of(fault)
        module.write_text(module.read_text(encoding="utf-8").replace(fault.line, fault.wrong), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *fault.tests]
        environment = {**os.environ, "PYTHONPATH": folder, "HF_HUB_OFFLINE": "1", "TMPDIR": folder}
        try:
            run = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return "caught: the tests never ended"
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if run.returncode == 0:
        return "SURVIVED"
    return f"caught: {failed[0].split(' - ')[0] if failed else run.stdout.strip()[-200:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults whose name or line contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=900, help="seconds for the tests of one fault")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.only in fault.name or options.only in fault.line]
    for fault in faults:
        place_of(fault)  # before any is run

    def run(fault: Fault) -> bool:
        start = time.perf_counter()
        result = outcome(fault, options.timeout)
        print(f"{time.perf_counter() - start:5.0f} s  {place_of(fault)}  {fault.name}: {result}", flush=True)
        return result.startswith("caught")

    with ThreadPoolExecutor(options.jobs) as pool:
        caught = sum(pool.map(run, faults))
    print(f"{caught} of {len(faults)} faults caught")
    return int(caught < len(faults))


if __name__ == "__main__":
    sys.exit(main())
