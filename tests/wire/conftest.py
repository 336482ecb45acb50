"""The program under test, and a botocore client whose requests go to it instead of the network."""

import base64
import io
import json
import os
import pathlib
import subprocess

import botocore
import botocore.awsrequest
import botocore.config
import botocore.loaders
import botocore.model
import botocore.session
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MODEL = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("lambda", "service-2"), "lambda")
ACCOUNT, REGION = "123456789012", "eu-west-1"


class Wire:
    """The protocol crate behind a pipe."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        assert "error" not in said, said
        return said

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=10) == 0


@pytest.fixture(scope="session")
def wire():
    command = ["cargo", "build", "--quiet", "--package", "warmpod-protocol", "--example", "wire"]
    command += ["--profile", os.environ.get("CARGO_PROFILE", "ci"), "--message-format", "json"]
    built = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    artifacts = [json.loads(line) for line in built.splitlines()]
    [program] = [a["executable"] for a in artifacts if a.get("target", {}).get("name") == "wire" and a.get("executable")]
    wire = Wire(program)
    yield wire
    wire.close()


def request(prepared):
    """A request as botocore would send it, in the words of the program."""
    text = lambda value: value.decode() if isinstance(value, bytes) else str(value)
    body = prepared.body or b""
    body = body.encode() if isinstance(body, str) else body
    return {
        "method": prepared.method,
        "uri": prepared.url,
        "headers": [[text(name), text(value)] for name, value in prepared.headers.items()],
        "body": base64.b64encode(body).decode(),
    }


class Body(io.BytesIO):
    """What urllib3 would give botocore."""

    def stream(self, **_):
        yield self.read()


class Client:
    """botocore's client of one service. A call keeps what it sent in `sent` and gets `answer`, or `answer(request)`."""

    def __init__(self, service):
        self.sent = self.answer = None
        self.client = botocore.session.Session().create_client(
            service,
            region_name=REGION,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="secret",
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )
        self.client.meta.events.register("before-send", self.send)

    def call(self, operation, parameters, answer):
        self.answer = answer
        return getattr(self.client, botocore.xform_name(operation))(**parameters)

    def send(self, request: botocore.awsrequest.AWSPreparedRequest, **_):
        self.sent = request
        answer = self.answer(request) if callable(self.answer) else self.answer
        return botocore.awsrequest.AWSResponse(
            request.url, answer["status"], dict(answer["headers"]), Body(base64.b64decode(answer["body"]))
        )


@pytest.fixture(scope="session")
def client():
    return Client("lambda")
