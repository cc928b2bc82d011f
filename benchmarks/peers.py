"""Peers from the package index, each in an environment of its own under .cache/peers.

Such an environment sees the packages of ours behind its own: the same torch works on both sides.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.common import ROOT

PEERS = ROOT / ".cache" / "peers"


def python_with(name: str, *packages: str) -> Path:
    """The interpreter of an environment with these packages, installed once. Stops the benchmark where it fails."""
    folder = PEERS / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    if ready.is_file() and ready.read_text("utf-8") == " ".join(packages):
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    own = subprocess.run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                         capture_output=True, text=True, check=True).stdout.strip()
    (Path(own) / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    done = subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(packages)} cannot be installed:\n{done.stderr[-1500:]}")
    ready.write_text(" ".join(packages), "utf-8")
    return python
