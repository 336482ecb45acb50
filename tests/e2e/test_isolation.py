"""A function hurts only itself: it reads nothing of the gateway's or of others', and what it floods is bounded."""

import os
import pathlib
import socket
import threading
import time

import pytest

from functions import ECHO, create, good, invoke, together
from gateway import running
from machine import processes_below, resident


@pytest.fixture(scope="module")
def own():
    with running() as gateway:
        yield gateway


PRY = """
import glob, os
def look(path):
    try:
        if os.path.isdir(path): return "list " + " ".join(os.listdir(path)[:3]) if os.listdir(path) else None
        with open(path, "rb") as file: return "read " + str(file.read(20))
    except OSError: return None
def handler(event, context):
    return {path: seen for path in event if (seen := look(path))}
"""


def test_the_data_directory_and_other_functions_code_are_out_of_reach(own):
    client = own.client()
    victim = create(client, {"app.py": ECHO, "secret.txt": "secret"})
    good(invoke(client, victim, 1))
    data = str(own.data)
    paths = [data, f"{data}/warmpod.db", f"{data}/lock", f"{data}/blobs", f"{data}/code"]
    paths += [str(path) for path in pathlib.Path(data).glob("code/*")] + [str(path) for path in pathlib.Path(data).glob("code/*/secret.txt")]
    paths += [str(path) for path in pathlib.Path(data).glob("blobs/*")]
    assert any(path.endswith("secret.txt") for path in paths)
    assert good(invoke(client, create(client, PRY), paths)) == {}


def test_the_machines_files_are_out_of_reach(own):
    client = own.client()
    paths = ["/root", "/etc/shadow", "/etc/ssh", "/run/warmpod", "/var/lib", "/var/log", "/proc/1/environ", "/proc/1/root/root", "/proc/kcore", "/sys/kernel/debug", "/boot", "/mnt", "/srv"]
    seen = good(invoke(client, create(client, PRY), paths))
    # The first process of its own namespace is the sandbox's.
    seen.pop("/proc/1/environ", None)
    assert seen == {}


def test_processes_of_others_are_neither_seen_nor_signalled(own):
    client = own.client()
    code = """
import os
def handler(pids, context):
    seen = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    reached = []
    for pid in pids:
        for what in (lambda: os.kill(pid, 0), lambda: os.kill(pid, 9), lambda: open(f"/proc/{pid}/mem", "rb").read(1), lambda: open(f"/proc/{pid}/environ", "rb").read(1)):
            try:
                what()
                if pid not in seen: reached.append(pid)
            except (OSError, OverflowError): pass
    return [len(seen), reached]
"""
    pids = [pid for pid, _ in processes_below(own.process.pid)] + [os.getpid()]
    count, reached = good(invoke(client, create(client, code), pids))
    assert reached == [] and count < 10
    assert own.request("GET", "/_warmpod/health")[0] == 200
    os.kill(own.process.pid, 0)


@pytest.mark.parametrize(
    "attempt",
    [
        "ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0)",
        "ctypes.CDLL(None, use_errno=True).mount(b'none', b'/tmp', b'tmpfs', 0, None)",
        "ctypes.CDLL(None, use_errno=True).unshare(0x10000000)",
        "ctypes.CDLL(None, use_errno=True).setuid(0)",
        "ctypes.CDLL(None, use_errno=True).chroot(b'/tmp')",
        "ctypes.CDLL(None, use_errno=True).syscall(321, 0, None, 0)",
        "ctypes.CDLL(None, use_errno=True).reboot(0)",
    ],
    ids=["ptrace", "mount", "unshare", "setuid", "chroot", "bpf", "reboot"],
)
def test_dangerous_system_calls_are_refused(own, attempt):
    client = own.client()
    answer = invoke(client, create(client, f"import ctypes\ndef handler(e, c): return {attempt}\n"))
    assert answer.error or answer.value == -1, answer.raw


def test_no_capability_is_left(own):
    client = own.client()
    code = "def handler(e, c): return {k: v.strip() for k, v in (line.split(':', 1) for line in open('/proc/self/status')) if k in ('CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp')}\n"
    seen = good(invoke(client, create(client, code)))
    assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == 0
    assert seen["NoNewPrivs"] == "1"


def test_the_gateways_sockets_take_no_stranger(own):
    """A function that finds the door of the agents, or its relay, has no credential for it."""
    client = own.client()
    code = """
import glob, os, socket
def handler(event, context):
    found = []
    for root, _, files in os.walk("/"):
        if root.startswith(("/proc", "/usr", "/sys")): continue
        found += [os.path.join(root, f) for f in files if f.endswith(".sock")]
    return found
"""
    assert good(invoke(client, create(client, code, Timeout=30))) == []


def beside(client, healthy, trouble):
    """Invokes `healthy` again and again while `trouble()` runs; how long each call took."""
    took, stop = [], threading.Event()

    def calling():
        while not stop.is_set():
            began = time.monotonic()
            assert good(invoke(client, healthy, 1, tail=False)) == 1
            took.append(time.monotonic() - began)
            stop.wait(0.05)

    thread = threading.Thread(target=calling, daemon=True)
    thread.start()
    try:
        result = trouble()
    finally:
        stop.set()
        thread.join(60)
    assert took and not thread.is_alive()
    return result, took


def test_a_fork_bomb_hurts_only_itself(own):
    client = own.client()
    healthy = create(client, ECHO)
    code = """
import os, time
def handler(event, context):
    made = 0
    while True:
        try:
            if os.fork() == 0:
                while True: time.sleep(60)
            made += 1
        except OSError as error:
            return [made, error.errno]
        if made > 5000: return [made, 0]
"""
    bomb = create(client, code, Timeout=40, MemorySize=1024)
    answer, took = beside(client, healthy, lambda: invoke(client, bomb))
    if answer.error is None:
        made, errno = answer.value
        assert errno and made <= 1100, answer.raw
    else:
        assert answer.value["errorType"] in ("Runtime.OutOfMemory", "Runtime.ExitError", "Sandbox.Timedout"), answer.raw
    assert max(took) < 10
    client.delete_function(FunctionName=bomb)


def test_a_memory_hog_beside_a_healthy_function_hurts_only_itself(own):
    client = own.client()
    healthy = create(client, ECHO)
    hog = create(client, "def handler(e, c):\n    x = []\n    while True: x.append(bytearray(b'x' * (16 << 20)))\n", MemorySize=256, Timeout=30)
    answer, took = beside(client, healthy, lambda: [invoke(client, hog) for _ in range(3)][-1])
    assert answer.value["errorType"] == "Runtime.OutOfMemory"
    assert max(took) < 10


def test_memory_of_child_processes_counts(own):
    client = own.client()
    code = "import subprocess, sys\ndef handler(e, c):\n    child = subprocess.run([sys.executable, '-c', 'x = bytearray(b\"x\" * (400 << 20)); print(len(x))'])\n    return child.returncode\n"
    answer = invoke(client, create(client, code, MemorySize=256, Timeout=30))
    assert answer.error or answer.value != 0, "a child used more than MemorySize"


def test_one_gigabyte_of_logs_is_bounded_in_memory_and_time(own):
    client = own.client()
    healthy = create(client, ECHO)
    code = "import os\nblock = (b'x' * 1023 + b'\\n') * 1024\ndef handler(e, c):\n    for _ in range(e): os.write(1, block)\n    return 'written'\n"
    function = create(client, code, Timeout=120, MemorySize=512)
    before = resident(own.process.pid)
    most = []

    def trouble():
        return invoke(client, function, 1024)

    began = time.monotonic()
    done = threading.Event()

    def measure():
        while not done.wait(0.1):
            most.append(resident(own.process.pid))

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        answer, _ = beside(client, healthy, trouble)
    finally:
        done.set()
        thread.join()
    assert good(answer) == "written"
    assert len(answer.log.encode()) == 4096 and "REPORT RequestId" in answer.log
    assert time.monotonic() - began < 90
    assert max(most) - before < 150_000_000, f"{(max(most) - before) >> 20} MiB more"
    # What the test itself kept of the gateway's log.
    del own.log[:]


def test_a_function_that_opens_everything_runs_out_by_itself(own):
    client = own.client()
    code = "import os\ndef handler(e, c):\n    kept = []\n    try:\n        while True: kept.append(os.open('/dev/null', 0))\n    except OSError as error:\n        return [len(kept), error.errno]\n    finally:\n        for fd in kept: os.close(fd)\n"
    count, errno = good(invoke(client, create(client, code)))
    assert errno == 24 and 900 < count <= 1024


def test_slow_clients_do_not_keep_others_out(own):
    """A hundred clients that send a head or a body byte by byte: the others are served."""
    client = own.client()
    function = create(client, ECHO)
    slow = []
    try:
        for number in range(100):
            connection = socket.create_connection(own.address())
            connection.sendall(b"POST /2015-03-31/functions/x/invocations HTTP/1.1\r\n" + (b"Host: x\r\nContent-Length: 1000\r\n\r\n{" if number % 2 else b"X-Slow: "))
            slow.append(connection)
        assert together(10, lambda n: good(invoke(client, function, n))) == list(range(10))
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.long
def test_a_slow_loris_is_cut_off(own):
    connections = []
    for start in (b"", b"GET / HTTP/1.1\r\nX-A: ", b"POST /2015-03-31/functions/x/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"):
        connection = socket.create_connection(own.address())
        connection.settimeout(60)
        connection.sendall(start)
        connections.append(connection)
    began = time.monotonic()
    for connection in connections:
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer == b"" or answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")), answer
        connection.close()
    assert 20 < time.monotonic() - began < 50


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + b"\r\n",
        b"POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        b"POST /2015-03-31/functions/%ff%fe/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"GET /2015-03-31/functions/..%2f..%2fetc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /_warmpod/code/../../../etc/passwd?expires=1&signature=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"\r\n" * 1000,
        bytes(range(256)) * 50,
    ],
    ids=["TLS", "version", "long path", "many headers", "negative length", "two lengths", "huge chunk", "name not UTF-8", "traversal in a name", "traversal in a download", "empty lines", "noise"],
)
def test_hostile_http_is_refused_and_the_gateway_serves_on(own, sent):
    with socket.create_connection(own.address()) as connection:
        connection.settimeout(10)
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            answer = b""
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert 400 <= status < 600 and b"root:" not in answer, answer[:200]
    assert own.request("GET", "/_warmpod/health")[0] == 200


def test_a_client_that_pipelines_gets_its_answers_in_order(own):
    client = own.client()
    function = create(client, ECHO).encode()
    one = lambda n: b"POST /2015-03-31/functions/%s/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d" % (function, n)
    good(invoke(client, function.decode(), 0))
    with socket.create_connection(own.address()) as connection:
        connection.settimeout(20)
        connection.sendall(b"".join(one(n) for n in range(8)))
        seen = b""
        while seen.count(b"HTTP/1.1 200") < 8 or not seen.endswith(b"7"):
            part = connection.recv(65536)
            assert part, seen
            seen += part
    bodies = [part.split(b"\r\n\r\n", 1)[1][:1] for part in seen.split(b"HTTP/1.1 200")[1:]]
    assert bodies == [b"%d" % n for n in range(8)]


def test_functions_reach_each_other_only_through_the_gateway(own):
    """What one function listens on, another does not reach."""
    client = own.client()
    listener = create(client, "import socket, time\nserver = socket.socket()\nserver.bind(('0.0.0.0', 8765))\nserver.listen()\ndef handler(e, c):\n    time.sleep(e)\n    return 'listened'\n", Timeout=20)
    good(invoke(client, listener, 0))
    prober = create(client, "import socket\ndef handler(e, c):\n    try: socket.create_connection(('127.0.0.1', 8765), 1); return 'reached'\n    except OSError as error: return 'refused'\n")
    assert good(invoke(client, prober)) == "refused"
