"""Without root: the demo's steps work for a user who owns nothing but a folder."""

import os
import pathlib
import shutil
import tempfile

import pytest

from functions import create, good, invoke, refused
from gateway import DIST, running
from machine import alive, processes_below, wait_until_gone

USER = 54_321


@pytest.fixture(scope="module")
def user():
    """Runs gateways as the user; without root, as who we are."""
    if os.geteuid() != 0:
        yield {"prefix": (), "dist": DIST}, tempfile.mkdtemp(prefix="warmpod-user-")
        return
    if shutil.which("setpriv") is None:
        pytest.skip("NOT CHECKED: setpriv (Debian: util-linux) is not installed")
    home = tempfile.mkdtemp(prefix="warmpod-user-")
    try:
        # The checkout may be in a folder that only root enters.
        shutil.copytree(DIST, f"{home}/dist", symlinks=True)
        os.mkdir(f"{home}/home")
        os.chown(f"{home}/home", USER, USER)
        os.chmod(home, 0o755)
        prefix = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all", "env", f"HOME={home}/home", "PATH=/usr/local/bin:/usr/bin:/bin")
        yield {"prefix": prefix, "dist": pathlib.Path(home) / "dist"}, f"{home}/home"
    finally:
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(f"/tmp/warmpod-{USER}", ignore_errors=True)


@pytest.fixture(scope="module")
def own(user):
    options, home = user
    with running(f"{home}/data", **options) as gateway:
        yield gateway


def test_the_demos_steps_work(own):
    client = own.client()
    code = "import os\ncalls = 0\ndef handler(event, context):\n    global calls\n    calls += 1\n    print('call', calls)\n    return {'greeting': f\"Hello, {event['name']}!\", 'calls': calls, 'user': os.getuid()}\n"
    function = create(client, code)
    cold = invoke(client, function, {"name": "world"})
    assert good(cold) == {"greeting": "Hello, world!", "calls": 1, "user": 993}
    assert cold.is_cold and "call 1\n" in cold.log
    warm = invoke(client, function, {"name": "world"})
    assert good(warm)["calls"] == 2 and not warm.is_cold
    client.delete_function(FunctionName=function)
    with refused("ResourceNotFoundException", 404):
        client.get_function(FunctionName=function)


def test_what_the_machine_does_not_offer_is_said_once(own):
    said = [line for line in own.log if " WARN " in line and " no " in line]
    assert len(said) == len(set(line.split(" WARN ", 1)[1] for line in said))


def test_errors_and_timeouts_are_as_for_root(own):
    client = own.client()
    function = create(client, "import os, time\ndef handler(e, c):\n    if e == 'exit': os._exit(3)\n    if e == 'hang': time.sleep(60)\n    if e == 'raise': raise ValueError('x')\n    return 1\n", Timeout=2)
    assert invoke(client, function, "exit").value["errorMessage"].endswith("exit status 3")
    assert invoke(client, function, "hang").value["errorType"] == "Sandbox.Timedout"
    assert invoke(client, function, "raise").value["errorType"] == "ValueError"
    assert good(invoke(client, function)) == 1


def test_memory_size_is_enforced(own):
    client = own.client()
    function = create(client, "def handler(e, c):\n    x = []\n    while True: x.append(bytearray(b'x' * (8 << 20)))\n", MemorySize=128, Timeout=30)
    assert invoke(client, function).value["errorType"] == "Runtime.OutOfMemory"


def test_the_data_directory_is_out_of_reach(own):
    client = own.client()
    code = "import os\ndef handler(paths, c):\n    seen = []\n    for path in paths:\n        try:\n            os.listdir(path) if os.path.isdir(path) else open(path).read(1)\n            seen.append(path)\n        except (OSError, UnicodeDecodeError) as error:\n            if isinstance(error, UnicodeDecodeError): seen.append(path)\n    return seen\n"
    paths = [str(own.data), f"{own.data}/warmpod.db", f"{own.data}/blobs", f"{own.data}/code"]
    assert good(invoke(client, create(client, code), paths)) == []


def test_kill_9_and_sigterm_leave_nothing(user):
    options, home = user
    with running(f"{home}/other", "--orphan-timeout", "3", **options) as gateway:
        client = gateway.client()
        good(invoke(client, create(client, "def handler(e, c): return 1\n")))
        its = processes_below(gateway.process.pid)
        gateway.kill()
        wait_until_gone(gateway.data, its, [], 25)
        gateway.start()
        its = processes_below(gateway.process.pid)
        assert gateway.stop() == 0
        wait_until_gone(gateway.data, its, [], 5)
        assert not alive(its)
