"""The checked-in model is what the generator writes."""

import subprocess
import sys

from conftest import REPOSITORY

CRATE = REPOSITORY / "gateway/protocol"


def test_regenerating_gives_the_checked_in_files(tmp_path):
    subprocess.run([sys.executable, CRATE / "generate/generate.py", tmp_path], check=True)
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.rs")}
    model = CRATE / "src/model"
    checked_in = {path.relative_to(model): path.read_bytes() for path in model.glob("*/*.rs")}
    assert written == checked_in
