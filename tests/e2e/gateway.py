"""A gateway as a user starts it: the program, its flags, its log, and AWS's clients in front of it."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

import boto3
import botocore.config

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DIST = REPOSITORY / "dist"
OWN_VARIABLES = ("LAMBDA_", "WARMPOD_", "LOCALSTACK_", "GATEWAY_", "AWS_", "CONTAINER_RUNTIME", "PERSISTENCE")


class DidNotStart(AssertionError):
    """What a gateway said instead of serving."""


class Gateway:
    """A running `warmpod serve`. Its log is kept and shown when a test fails."""

    def __init__(self, data, *flags, env=None, listen="127.0.0.1:0", dist=DIST, prefix=()):
        self.data = data
        self.flags = flags
        self.env = env or {}
        self.listen = listen
        self.dist = dist
        self.prefix = prefix
        self.log = []
        self.start()

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(OWN_VARIABLES)}
        environment |= {"WARMPOD_LOG": "info,warmpod=debug", "NO_COLOR": "1"} | self.env
        command = [*self.prefix, self.dist / "warmpod", "serve", "--data-dir", self.data]
        command += ["--listen", self.listen] if self.listen else []
        self.process = subprocess.Popen(
            [str(part) for part in (*command, *self.flags)],
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
        if not ready.wait(60) or self.url is None:
            self.kill()
            raise DidNotStart("the gateway did not start:\n" + self.said())

    def said(self, since=0):
        return "".join(self.log[since:])

    def stop(self, timeout=45):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout=45):
        code = self.process.wait(timeout)
        self.reader.join(5)
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(5)

    def client(self, service="lambda", region="us-east-1", account="test", **config):
        settings = {"retries": {"max_attempts": 0}, "read_timeout": 120, "max_pool_connections": 128} | config
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

    def address(self):
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        return host, int(port)

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
        if gateway is not None:
            # pytest shows it when the test fails.
            print("--- gateway's log\n" + gateway.said())
        if own:
            shutil.rmtree(data, ignore_errors=True)


def refuses_to_start(data, *flags, **options):
    """What a gateway that must not start says; it fails the test if it does."""
    try:
        gateway = Gateway(data, *flags, **options)
    except DidNotStart as refusal:
        return str(refusal)
    gateway.kill()
    raise AssertionError("the gateway started:\n" + gateway.said())
