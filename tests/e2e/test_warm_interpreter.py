"""Functions that are claimed in turn from one class of generic workers share nothing; a failed claim ends its worker."""

import pytest

from functions import create, good, invoke, until
from gateway import running
from machine import alive, processes_below

LEAVES = """
import builtins, json, os, random, sys, tempfile, types
sys.modules["left_behind"] = types.ModuleType("left_behind")
json.left_behind = builtins.left_behind = True
os.environ["LEFT_BEHIND"] = "yes"
open("/tmp/left_behind", "w").write("yes")
tempfile.tempdir = "/tmp/left"
sys.path.append("/left_behind")
def handler(event, context):
    return {"token": os.environ["AWS_SESSION_TOKEN"], "secret": os.environ["AWS_SECRET_ACCESS_KEY"], "stream": context.log_stream_name,
            "random": random.random(), "machine": os.environ["ONLY_OF_ONE"]}
"""
FINDS = """
import builtins, gc, json, os, random, sys, tempfile
def handler(event, context):
    everything = " ".join(repr(value) for value in gc.get_objects() if type(value) in (dict, list, tuple, str) and len(repr(value)) < 20000)
    return {"module": "left_behind" in sys.modules, "attribute": hasattr(json, "left_behind"), "builtin": hasattr(builtins, "left_behind"),
            "variable": os.environ.get("LEFT_BEHIND"), "own": os.environ.get("ONLY_OF_ONE"), "files": os.listdir("/tmp"), "tempdir": tempfile.tempdir,
            "path": [p for p in sys.path if "left" in p], "token": os.environ["AWS_SESSION_TOKEN"], "stream": context.log_stream_name,
            "secrets": [secret for secret in event if secret in everything], "random": random.random(),
            "environ": open("/proc/self/environ").read()}
"""


@pytest.fixture(scope="module")
def one_class():
    with running(None, "--generic-workers", "1") as gateway:
        yield gateway


def generic_ready(gateway):
    until(lambda: gateway.pool()["generic"] >= 1, "a generic worker is ready", 30)


def test_functions_in_turn_share_nothing(one_class):
    client = one_class.client()
    create(client, "def handler(e, c): pass\n")
    generic_ready(one_class)
    left = good(invoke(client, create(client, LEAVES, Environment={"Variables": {"ONLY_OF_ONE": "mine"}})))
    generic_ready(one_class)
    answer = invoke(client, create(client, FINDS), [left["token"], left["secret"], left["stream"], "ONLY_OF_ONE"])
    found = good(answer)
    assert answer.is_cold
    assert not (found["module"] or found["attribute"] or found["builtin"] or found["variable"] or found["own"] or found["files"] or found["path"])
    assert found["tempdir"] is None
    assert found["token"] != left["token"] and found["stream"] != left["stream"]
    # The event itself is in memory: what is looked for came with it, and nowhere else.
    assert left["token"] not in found["environ"] and left["secret"] not in found["environ"]


def test_random_numbers_of_claimed_interpreters_differ(one_class):
    client = one_class.client()
    code = "import random, uuid\nfirst = random.random()\ndef handler(e, c): return first\n"
    seen = set()
    for _ in range(4):
        function = create(client, code)
        generic_ready(one_class)
        seen.add(good(invoke(client, function)))
    assert len(seen) == 4


def test_a_claimed_interpreter_is_as_a_fresh_one(one_class):
    """Its main module, arguments, folder and warnings are what a function sees on AWS."""
    client = one_class.client()
    code = """
import logging, os, signal, sys, threading
def handler(event, context):
    return {"cwd": os.getcwd(), "first": sys.path[0], "task": "/var/task" in sys.path, "threads": threading.active_count(),
            "level": logging.getLogger().level, "handlers": len(logging.getLogger().handlers), "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
            "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3]}
"""
    generic_ready(one_class)
    seen = good(invoke(client, create(client, code)))
    assert seen["cwd"] == "/var/task" and seen["task"]
    assert seen["threads"] == 1 and seen["handlers"] == 1 and seen["fds"] == [0, 1, 2]


def test_a_package_that_brings_its_own_sdk_gets_its_own(one_class):
    client = one_class.client()
    files = {"app.py": "import boto3\ndef handler(e, c): return boto3.__version__\n", "boto3/__init__.py": "__version__ = 'own'\n"}
    generic_ready(one_class)
    assert good(invoke(client, create(client, files))) == "own"


def test_a_failed_claim_ends_the_worker(one_class):
    """An init that fails in a claimed interpreter is repeated in a fresh process, never in that interpreter."""
    client = one_class.client()
    code = "import os, sys\nopen('/tmp/pids', 'a').write(f'{os.getpid()} ')\nsys.modules['kept'] = sys\nraise Exception('no')\n"
    generic_ready(one_class)
    function = create(client, code)
    assert invoke(client, function).value["errorMessage"] == "no"
    # What serves after it is another worker, clean.
    generic_ready(one_class)
    found = good(invoke(client, create(client, "import os, sys\ndef handler(e, c): return ['kept' in sys.modules, os.listdir('/tmp')]\n")))
    assert found == [False, []]


def test_an_interpreter_that_dies_at_the_claim_is_replaced(one_class):
    client = one_class.client()
    generic_ready(one_class)
    before = processes_below(one_class.process.pid)
    function = create(client, "import os\nos.kill(os.getpid(), 9)\n")
    answer = invoke(client, function)
    assert answer.value["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")
    client.delete_function(FunctionName=function)
    good(invoke(client, create(client, "def handler(e, c): return 1\n")))
    assert alive(before), "the gateway itself"
