"""Functions in the tests' words: packages, creation, invocation, and what an invocation answered."""

import base64
import concurrent.futures
import contextlib
import io
import json
import re
import sys
import time
import uuid
import zipfile

import botocore.exceptions
import pytest

ROLE = "arn:aws:iam::000000000000:role/test"
PYTHON = f"python3.{sys.version_info[1]}"
ECHO = "def handler(event, context):\n    return event\n"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def zipped(files):
    """A package: {name: text, bytes, or (text or bytes, mode)}. A mode with its file type makes links and the like."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in files.items():
            content, mode = content if isinstance(content, tuple) else (content, 0o644)
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (mode if mode >> 12 else 0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            writer.writestr(info, content)
    return archive.getvalue()


def name(prefix="f"):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def arn(function, region="us-east-1", account="000000000000"):
    return f"arn:aws:lambda:{region}:{account}:function:{function}"


def wait_active(client, function):
    client.get_waiter("function_active_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def wait_updated(client, function):
    client.get_waiter("function_updated_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def create(client, code, wait=True, **options):
    """Creates a function from Python source, a dict of files or a whole zip; its name."""
    files = {"app.py": code} if isinstance(code, str) else code
    package = files if isinstance(files, bytes) else zipped(files)
    function = options.pop("FunctionName", None) or name()
    settings = {"Runtime": PYTHON, "Handler": "app.handler", "Role": ROLE, "Timeout": 10} | options
    client.create_function(FunctionName=function, Code={"ZipFile": package}, **settings)
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
        self.headers = answer["ResponseMetadata"]["HTTPHeaders"]
        self.request_id = answer["ResponseMetadata"]["RequestId"]

    @property
    def value(self):
        return json.loads(self.raw)

    @property
    def is_cold(self):
        return "INIT_START" in self.log

    def report(self):
        """The fields of the REPORT line."""
        line = next(line for line in self.log.splitlines() if line.startswith("REPORT "))
        return dict(field.split(": ", 1) for field in line.removeprefix("REPORT ").split("\t") if ": " in field)


def invoke(client, function, event=None, tail=True, **options):
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    log_type = "Tail" if tail else "None"
    return Answer(client.invoke(FunctionName=function, Payload=payload, LogType=log_type, **options))


def good(answer):
    """The value of an answer that is no error."""
    assert answer.error is None, answer.raw.decode() + "\n" + answer.log
    return answer.value


def together(count, call):
    """`call(number)` so many times beside each other; results or exceptions, in order."""

    def one(number):
        try:
            return call(number)
        except Exception as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


class Refused:
    """An error as an SDK shows it."""

    def __init__(self, error):
        self.code = error.response["Error"]["Code"]
        self.message = error.response["Error"]["Message"]
        self.status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        self.response = error.response

    def __repr__(self):
        return f"{self.status} {self.code}: {self.message}"


@contextlib.contextmanager
def refused(code, status, message=None, match=None):
    """The calls inside are refused just so."""
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        yield
    seen = Refused(raised.value)
    assert (seen.code, seen.status) == (code, status), seen
    if message is not None:
        assert seen.message == message
    if match is not None:
        assert re.search(match, seen.message), seen


def until(condition, what, seconds=20, every=0.05):
    """Waits until `condition()` is true and gives back what it said."""
    deadline = time.monotonic() + seconds
    while True:
        seen = condition()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last seen {seen!r}"
        time.sleep(every)
