"""A gateway as a user starts it, AWS's own clients in front of it."""

import base64
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import uuid
import zipfile

import boto3
import botocore.config
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DIST = REPOSITORY / "dist"
ROLE = "arn:aws:iam::000000000000:role/test"
PYTHON = f"python3.{sys.version_info[1]}"


def lines_of(log):
    return "".join(log)


class Gateway:
    """A running `warmpod serve`. Its log is kept and shown when a test fails."""

    def __init__(self, data, *flags, env=None, listen="127.0.0.1:0"):
        self.data = data
        self.flags = flags
        self.env = env or {}
        self.listen = listen
        self.log = []
        self.start()

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LAMBDA_", "WARMPOD_", "LOCALSTACK_"))}
        environment |= {"WARMPOD_LOG": "info,warmpod=debug", "NO_COLOR": "1"} | self.env
        self.process = subprocess.Popen(
            [DIST / "warmpod", "serve", "--listen", self.listen, "--data-dir", self.data, *self.flags],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        ready = threading.Event()
        self.url = None

        def read():
            for line in self.process.stderr:
                self.log.append(line)
                serves = re.search(r"serves (http://\S+)", line)
                if serves:
                    self.url = serves.group(1)
                    ready.set()
            ready.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        if not ready.wait(30) or self.url is None:
            self.process.kill()
            raise AssertionError("the gateway did not start:\n" + lines_of(self.log))

    def stop(self, timeout=40):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        self.reader.join(5)
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(5)

    def client(self, service="lambda", region="us-east-1", account="test", **config):
        settings = {"retries": {"max_attempts": 0}, "read_timeout": 120, "max_pool_connections": 64} | config
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=account,
            aws_secret_access_key="test",
            config=botocore.config.Config(**settings),
        )

    def request(self, method, path, body=None, headers=None):
        """Plain HTTP: status, headers, body."""
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def pool(self):
        return json.loads(self.request("GET", "/_warmpod/pool")[2])


@contextlib.contextmanager
def running(data=None, *flags, **options):
    """A gateway of a test's own, gone at the end with its data."""
    own = data is None
    data = data or tempfile.mkdtemp(prefix="warmpod-test-")
    gateway = None
    try:
        gateway = Gateway(data, *flags, **options)
        yield gateway
    finally:
        if gateway is not None and gateway.process.poll() is None:
            try:
                gateway.stop()
            except subprocess.TimeoutExpired:
                gateway.kill()
        if own:
            shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def shared():
    """One gateway for all tests that need nothing special of it."""
    with running(env={"LAMBDA_RETRY_BASE_DELAY": "0.3"}) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared, request):
    mark = len(shared.log)
    yield shared
    if getattr(request.node, "failed", False):
        print("--- gateway's log\n" + lines_of(shared.log[mark:]))


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


@pytest.fixture
def client(gateway):
    return gateway.client()


def zipped(files):
    """A package: {name: text, bytes, or (text or bytes, mode)}."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in files.items():
            content, mode = content if isinstance(content, tuple) else (content, 0o644)
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            writer.writestr(info, content)
    return archive.getvalue()


def name(prefix="f"):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def wait_active(client, function):
    client.get_waiter("function_active_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def create(client, code, wait=True, **options):
    """Creates a function from Python source or a dict of files; its name."""
    files = {"app.py": code} if isinstance(code, str) else code
    function = options.pop("FunctionName", None) or name()
    settings = {"Runtime": PYTHON, "Handler": "app.handler", "Role": ROLE, "Timeout": 10} | options
    client.create_function(FunctionName=function, Code={"ZipFile": zipped(files)}, **settings)
    if wait:
        wait_active(client, function)
    return function


class Answer:
    """What Invoke answered, in the test's words."""

    def __init__(self, answer):
        self.status = answer["StatusCode"]
        self.error = answer.get("FunctionError")
        self.version = answer.get("ExecutedVersion")
        self.raw = answer["Payload"].read()
        self.log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
        self.request_id = answer["ResponseMetadata"]["RequestId"]

    @property
    def value(self):
        return json.loads(self.raw)


def invoke(client, function, event=None, tail=True, **options):
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    log_type = "Tail" if tail else "None"
    return Answer(client.invoke(FunctionName=function, Payload=payload, LogType=log_type, **options))


@pytest.fixture
def function(client):
    """Creates functions that are deleted at the end."""
    made = []

    def make(code, **options):
        made.append(create(client, code, **options))
        return made[-1]

    yield make
    for each in made:
        with contextlib.suppress(client.exceptions.ResourceNotFoundException):
            client.delete_function(FunctionName=each)
