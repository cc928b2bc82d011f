"""Acceptance: loading half a gigabyte of weights takes hardly more memory of its own than the weights have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tohum.loading.importing import import_model

FILE = Path(__file__).resolve().parents[2] / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = [pytest.mark.slow, pytest.mark.pretrained,
              pytest.mark.skipif(not FILE.is_file(), reason="no real weights; fetch them with: make pretrained")]

FLOATS = 538_000_000  # bytes of the model in float32
LOAD = """
import json, sys, threading, time, torch
from pathlib import Path
from tohum.loading.folder import load_model
from tohum.loading.gguf.architectures import read_gguf_model
from tohum.loading.importing import read_source

def anonymous():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])

what, path, dtype = sys.argv[1], Path(sys.argv[2]), getattr(torch, sys.argv[3])
if what == "gguf":  # the library is loaded, as it would be for a smaller file
    import gguf.quants
before, peak, over = anonymous(), [0], threading.Event()

def watch():
    while not over.is_set():
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
if what == "gguf":
    weights = read_gguf_model(path, dtype)[1].values()
else:
    weights = load_model(path, dtype=dtype, int8=what == "bytes").network.state_dict().values()
over.set()
thread.join()
print(json.dumps({"weights": sum(w.nbytes for w in weights), "peak": peak[0] - before}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("smollm2") / "model"
    import_model(str(FILE), out)
    return out


@pytest.mark.parametrize(("what", "dtype"), [("gguf", "float32"), ("folder", "float32"), ("folder", "bfloat16"),
                                             ("bytes", "float32")])
def test_the_peak_of_anonymous_memory(folder, what, dtype):
    done = subprocess.run([sys.executable, "-c", LOAD, what, str(FILE if what == "gguf" else folder), dtype], check=True,
                          capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["weights"] >= (219_000_000 if what == "bytes" else FLOATS / 2)
    spare = 0.15 * (FLOATS if what == "bytes" else found["weights"])  # of one matrix at a time, however they are kept
    assert found["peak"] <= found["weights"] + spare, found["peak"] / found["weights"]
