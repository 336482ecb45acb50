"""Cold starts: from a generic worker, without one, and what the language itself takes, all in one run.

The gateway runs with a keepalive of zero: each environment serves once, so each invocation is a cold start.
"""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import machine
import tools
from report import Row, at_most
from subjects import EVENT, Gateway

PLAIN = """\
import sys

def handler(event, context):
    return [event, sys.version_info[1], sys.executable]
"""
WITH_BOTO3 = """\
import boto3, sys

client = boto3.client("dynamodb", region_name="us-east-1")

def handler(event, context):
    return [event, sys.version_info[1], sys.executable]
"""
ECHO = "def handler(event, context):\n    return event\n"


@dataclasses.dataclass
class Python:
    """The interpreter that the gateway takes, and AWS's client for it."""

    minor: int
    executable: str
    client: pathlib.Path

    @property
    def runtime(self):
        return f"python3.{self.minor}"


def wanted_runtime():
    minors = sorted(int(path.name.split(".")[1]) for path in (tools.DIST / "runtimes" / "python").glob("3.*"))
    own = sys.version_info[1]
    return f"python3.{own if own in minors else minors[-1]}"


def find_python(gateway):
    """Asks a function which interpreter runs it."""
    gateway.create("which", wanted_runtime(), {"app.py": PLAIN})
    (event, minor, executable), _ = gateway.invoke("which", EVENT)
    if event != EVENT:
        raise RuntimeError(f"the function answered {event}")
    gateway.call("DELETE", "/2015-03-31/functions/which")
    return Python(minor, executable, tools.DIST / "runtimes" / "python" / f"3.{minor}")


def own_start(command, samples, **options):
    """The language's own cold start, in ms: from the start of its process to its first answer, nothing in between but a
    Runtime API on loopback."""
    took = []
    for _ in range(samples):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
            environment = {
                "PATH": os.environ["PATH"],
                "AWS_LAMBDA_RUNTIME_API": address,
                "AWS_LAMBDA_FUNCTION_NAME": "own",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
                "AWS_LAMBDA_LOG_GROUP_NAME": "own",
                "AWS_LAMBDA_LOG_STREAM_NAME": "own",
                "AWS_DEFAULT_REGION": "us-east-1",
            } | options.get("variables", {})
            began = time.perf_counter()
            process = subprocess.Popen(
                command, env=environment, cwd=options.get("cwd"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                listener.settimeout(30)
                serve_once(listener)
                took.append((time.perf_counter() - began) * 1000)
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
    return took


def serve_once(listener):
    """A Runtime API for one invocation: gives the event, and returns when the answer has come."""
    event = json.dumps(EVENT).encode()
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        "Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n"
        "Lambda-Runtime-Deadline-Ms: 4102444800000\r\nLambda-Runtime-Trace-Id: Root=1-0-0;Sampled=0\r\n"
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:own\r\n"
        f"Content-Length: {len(event)}\r\n\r\n"
    ).encode()
    while True:
        client, _ = listener.accept()
        with client:
            client.settimeout(30)
            received = b""
            while data := client.recv(65536):
                received += data
                if b"/response " in received and b"\r\n\r\n" in received:
                    return
                if b"\r\n\r\n" in received and received.startswith(b"GET"):
                    client.sendall(head + event)
                    received = b""


def sample(gateway, name, samples, generic):
    """Cold starts of a function, in ms, each with so many generic workers ready for all classes together."""
    took = []
    for number in range(samples + 2):
        gateway.wait_settled(generic)
        answer, ms = gateway.invoke(name, EVENT)
        if answer != EVENT and answer[0] != EVENT:
            raise RuntimeError(f"{name} answered {answer}")
        # The first ones fill caches of the file system.
        if number >= 2:
            took.append(ms)
    return took


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def spread(values):
    return f"p99 {percentile(values, 0.99):.1f} ms, n {len(values)}"


def rows(python, samples):
    """All rows of cold starts."""
    extra = 0 if machine.unified_cgroups() else 15
    echo = {"bootstrap": tools.PROGRAMS / "echo"}
    found = {}
    with Gateway(generic=1, keepalive=0) as gateway:
        for name, code in ("plain", PLAIN), ("boto3", WITH_BOTO3):
            gateway.create(name, python.runtime, {"app.py": code})
            found["generic", name] = sample(gateway, name, samples, generic=1)
        gateway.create("rust", "provided.al2023", echo)
        found["generic", "rust"] = sample(gateway, "rust", samples, generic=2)
    few = max(5, samples // 3)
    with tempfile.TemporaryDirectory() as folder, Gateway(generic=0, keepalive=0) as gateway:
        for name, code in ("plain", PLAIN), ("boto3", WITH_BOTO3):
            gateway.create(name, python.runtime, {"app.py": code})
            code_folder = pathlib.Path(folder, name)
            code_folder.mkdir()
            (code_folder / "app.py").write_text(code)
        gateway.create("rust", "provided.al2023", echo)
        interpreter = [python.executable, "-m", "awslambdaric", "app.handler"]
        variables = {"PYTHONPATH": str(python.client)}
        for name in "plain", "boto3":
            # In turns: what else the machine does meets both.
            found["new", name], found["own", name] = [], []
            for _ in range(few):
                found["new", name] += sample(gateway, name, 1, generic=0)
                found["own", name] += own_start(interpreter, 1, cwd=pathlib.Path(folder, name), variables=variables)
        found["new", "rust"], found["own", "rust"] = [], []
        for _ in range(few):
            found["new", "rust"] += sample(gateway, "rust", 1, generic=0)
            found["own", "rust"] += own_start([tools.PROGRAMS / "echo"], 1)
    bare = [interpreter_alone(python) for _ in range(few)]

    p50 = {key: statistics.median(values) for key, values in found.items()}

    def generic(what, name, goal):
        return at_most(what, p50["generic", name], goal, "ms", spread(found["generic", name]))

    table = [
        generic("cold from a generic worker, Python", "plain", 5),
        generic("… that makes a boto3 client at import", "boto3", 25),
        Row("… Rust", f"{p50['generic', 'rust']:.1f} ms", spread(found["generic", "rust"])),
    ]
    for name, what in ("plain", "Python"), ("boto3", "Python, boto3 client at import"), ("rust", "Rust"):
        own = f"its own start: {p50['own', name]:.1f} ms; {spread(found['new', name])}"
        limit = p50["own", name] + 5 + extra
        table.append(at_most(f"cold without a generic worker, {what}", p50["new", name], limit, "ms", own))
    alone = statistics.median(bare)
    table.append(Row("for comparison: the Python interpreter alone, `-c pass`", f"{alone:.1f} ms"))
    return table


def interpreter_alone(python):
    began = time.perf_counter()
    subprocess.run([python.executable, "-c", "pass"], check=True)
    return (time.perf_counter() - began) * 1000
