"""Functions that bring their own runtime: a shell script with curl, and a Rust program on lambda_runtime."""

import base64
import fcntl
import subprocess

import pytest

from functions import ROLE, good, invoke, name, together, wait_active, zipped
from gateway import REPOSITORY

# What AWS's own tutorial for custom runtimes does: curl in a loop.
# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-walkthrough.html
BOOTSTRAP = """#!/bin/sh
set -eu
echo "bootstrap starts for $_HANDLER"
while true; do
  headers=$(mktemp)
  event=$(curl -sS -LD "$headers" "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next")
  id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
  echo "event $event"
  curl -sS "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/$id/response" -d "{\\"echo\\": $event, \\"id\\": \\"$id\\"}" > /dev/null
  rm -f "$headers"
done
"""
API = "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"


def shell(script):
    return {"bootstrap": (script, 0o755)}


def looping(body):
    """A bootstrap that has `$event` and `$id` and does `body` with them, for ever."""
    return shell(
        f"""#!/bin/sh
while true; do
  event=$(curl -sS -D /tmp/headers "{API}/invocation/next")
  id=$(grep -i lambda-runtime-aws-request-id /tmp/headers | tr -d '[:space:]' | cut -d: -f2)
  {body}
done
"""
    )


@pytest.fixture
def provided(function):
    return lambda files, **options: function(files, Runtime="provided.al2023", Handler="own.handler", **options)


def test_a_shell_bootstrap_with_curl(client, provided):
    each = provided(shell(BOOTSTRAP))
    answer = invoke(client, each, {"a": [1, "ü"]})
    assert good(answer) == {"echo": {"a": [1, "ü"]}, "id": answer.request_id}
    assert "bootstrap starts for own.handler\n" in answer.log
    warm = invoke(client, each, 2)
    assert good(warm)["echo"] == 2 and "bootstrap starts" not in warm.log


def test_every_runtime_header_is_there(client, provided):
    each = provided(looping(f'curl -sS "{API}/invocation/$id/response" --data-binary @/tmp/headers'), Timeout=9)
    context = base64.b64encode(b'{"custom":{"a":"b"}}').decode()
    answer = invoke(client, each, ClientContext=context)
    headers = dict(line.split(": ", 1) for line in answer.raw.decode().replace("\r", "").splitlines() if ": " in line)
    headers = {key.lower(): value for key, value in headers.items()}
    assert headers["lambda-runtime-aws-request-id"] == answer.request_id
    assert headers["lambda-runtime-invoked-function-arn"].endswith(f":function:{each}")
    assert headers["lambda-runtime-client-context"] == '{"custom":{"a":"b"}}'
    assert headers["lambda-runtime-trace-id"].startswith("Root=1-")
    assert headers["content-type"] == "application/json"
    assert len(headers["lambda-runtime-deadline-ms"]) == 13
    assert "lambda-runtime-cognito-identity" not in headers


def test_execution_env_is_absent(client, provided):
    each = provided(looping(f'curl -sS "{API}/invocation/$id/response" -d "\\"${{AWS_EXECUTION_ENV-absent}} $LAMBDA_TASK_ROOT $(pwd) $(id -u)\\""'))
    assert good(invoke(client, each)) == "absent /var/task /var/task 993"


def test_an_error_document_goes_to_the_caller_unchanged(client, provided):
    document = '{ "errorType" : "Own.Kind", "errorMessage":"of my own", "extra":[1] }'
    each = provided(looping(f"curl -sS -H 'Lambda-Runtime-Function-Error-Type: Function.Own' \"{API}/invocation/$id/error\" -d '{document}'"))
    answer = invoke(client, each)
    assert (answer.error, answer.raw.decode()) == ("Unhandled", document)


def test_an_answer_may_be_any_bytes(client, provided):
    each = provided(looping(f"printf 'not json \\377\\000' | curl -sS \"{API}/invocation/$id/response\" --data-binary @-"))
    answer = invoke(client, each)
    assert (answer.error, answer.raw) == (None, b"not json \xff\x00")


def test_a_missing_bootstrap(client, provided):
    answer = invoke(client, provided({"other": "x"}))
    message = "RequestId: %s Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]" % answer.request_id
    assert answer.raw.decode() == '{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"%s"}' % message


@pytest.mark.parametrize(
    "bootstrap, message",
    [
        (("#!/bin/sh\n", 0o644), "fork/exec /var/task/bootstrap: permission denied"),
        (("\x01\x02 no program", 0o755), "fork/exec /var/task/bootstrap: exec format error"),
        (("#!/no/such/shell\n", 0o755), "fork/exec /var/task/bootstrap: no such file or directory"),
    ],
    ids=["not executable", "no program", "no interpreter"],
)
def test_a_bootstrap_that_cannot_run(client, provided, bootstrap, message):
    answer = invoke(client, provided({"bootstrap": bootstrap}))
    assert answer.value["errorType"] == "Runtime.InvalidEntrypoint"
    assert answer.value["errorMessage"] == f"RequestId: {answer.request_id} Error: {message}"


@pytest.mark.parametrize("status, message", [(0, "Runtime exited without providing a reason"), (7, "Runtime exited with error: exit status 7")])
def test_a_bootstrap_that_leaves(client, provided, status, message):
    answer = invoke(client, provided(shell(f"#!/bin/sh\nexit {status}\n")))
    assert answer.value == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {answer.request_id} Error: {message}"}


def test_init_error_of_its_own(client, provided):
    document = '{"errorMessage":"no config","errorType":"Own.Init"}'
    script = f"#!/bin/sh\ncurl -sS -H 'Lambda-Runtime-Function-Error-Type: Runtime.NoConfig' \"{API}/init/error\" -d '{document}'\nexit 1\n"
    answer = invoke(client, provided(shell(script)))
    assert (answer.error, answer.raw.decode()) == ("Unhandled", document)
    assert "Error Type: Runtime.NoConfig" in answer.log


def test_a_runtime_that_answers_twice_is_refused_and_serves_on(client, provided):
    body = f"""curl -sS "{API}/invocation/$id/response" -d '"first"'
  curl -sS -o /tmp/second -w '%{{http_code}}' "{API}/invocation/$id/response" -d '"second"' > /tmp/code
  echo "second: $(cat /tmp/code) $(cat /tmp/second)\""""
    each = provided(looping(body))
    for _ in range(3):
        answer = invoke(client, each)
        assert good(answer) == "first"
        assert 'second: 403 {"errorMessage":"State transition from' in answer.log, answer.log
        assert '"errorType":"InvalidStateTransition"}' in answer.log


def test_a_runtime_that_answers_for_a_foreign_request_is_refused(client, provided):
    body = f"""curl -sS -o /tmp/foreign -w '%{{http_code}}' "{API}/invocation/00000000-0000-4000-8000-000000000000/response" -d '"foreign"' > /tmp/code
  echo "foreign: $(cat /tmp/code) $(cat /tmp/foreign)"
  curl -sS "{API}/invocation/$id/response" -d '"own"'"""
    answer = invoke(client, provided(looping(body)))
    assert good(answer) == "own"
    assert 'foreign: 400 {"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}' in answer.log


def test_a_runtime_that_asks_again_without_an_answer_gets_the_same_event(client, provided):
    body = f"""again=$(curl -sS "{API}/invocation/next")
  curl -sS "{API}/invocation/$id/response" -d "[$event, $again]\""""
    assert good(invoke(client, provided(looping(body)), {"n": 1})) == [{"n": 1}, {"n": 1}]


def test_a_response_that_is_too_large_is_413_to_the_runtime(client, provided):
    body = f"""head -c 6291557 /dev/zero > /tmp/big
  code=$(curl -sS -o /tmp/said -w '%{{http_code}}' -H 'Expect:' "{API}/invocation/$id/response" --data-binary @/tmp/big)
  echo "said $code $(cat /tmp/said)\""""
    answer = invoke(client, provided(looping(body), MemorySize=256))
    assert answer.value["errorType"] == "Function.ResponseSizeTooLarge"
    assert 'said 413 {"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}' in answer.log, answer.log


def test_unknown_paths_and_methods_of_the_runtime_api(client, provided):
    body = f"""one=$(curl -s -o /dev/null -w '%{{http_code}}' "{API}/none")
  two=$(curl -s -o /dev/null -w '%{{http_code}}' -X DELETE "{API}/invocation/next")
  three=$(curl -s "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/ping")
  curl -sS "{API}/invocation/$id/response" -d "[$one, $two, \\"$three\\"]\""""
    assert good(invoke(client, provided(looping(body)))) == [404, 405, "pong"]


def test_hostile_bytes_on_the_runtime_api_hurt_only_the_function(client, provided):
    body = f"""address=$(echo $AWS_LAMBDA_RUNTIME_API | cut -d: -f1); port=$(echo $AWS_LAMBDA_RUNTIME_API | cut -d: -f2)
  head -c 300000 /dev/urandom | curl -s -m 2 telnet://$address:$port > /dev/null
  curl -sS "{API}/invocation/$id/response" -d '"alive"'"""
    each = provided(looping(body))
    assert good(invoke(client, each)) == "alive"
    assert good(invoke(client, each)) == "alive"


@pytest.fixture(scope="session")
def rust_echo():
    """The Rust function of tests/functions/rust-echo, built once for all runs."""
    source, target = REPOSITORY / "tests/functions/rust-echo", REPOSITORY / "target/functions"
    target.mkdir(parents=True, exist_ok=True)
    with open(target / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", "--target-dir", target], cwd=source, check=True)
    return (target / "release/rust-echo").read_bytes()


def test_a_rust_function_on_lambda_runtime(client, provided, rust_echo):
    each = provided({"bootstrap": (rust_echo, 0o755)})
    cold = invoke(client, each, {"x": [1, 2, 3]})
    assert good(cold)["event"] == {"x": [1, 2, 3]}
    assert good(cold)["request_id"] == cold.request_id
    for number in range(20):
        warm = invoke(client, each, number)
        assert good(warm)["event"] == number and not warm.is_cold
    answers = together(8, lambda number: [good(invoke(client, each, number))["event"] for _ in range(10)])
    assert answers == [[number] * 10 for number in range(8)]


def test_a_rust_functions_error_and_panic(client, provided, rust_echo):
    each = provided({"bootstrap": (rust_echo, 0o755)})
    failed = invoke(client, each, {"fail": "on purpose"})
    assert failed.error == "Unhandled"
    assert "on purpose" in failed.value["errorMessage"] and "stackTrace" not in failed.value
    assert good(invoke(client, each, 1))["event"] == 1


def test_a_handler_is_not_needed(client):
    function = name()
    client.create_function(FunctionName=function, Runtime="provided.al2023", Role=ROLE, Code={"ZipFile": zipped(shell(BOOTSTRAP))})
    try:
        wait_active(client, function)
        assert good(invoke(client, function, 1))["echo"] == 1
    finally:
        client.delete_function(FunctionName=function)


def test_old_names_of_the_provided_runtime_work(client, function):
    each = function(shell(BOOTSTRAP), Runtime="provided.al2")
    assert good(invoke(client, each, 3))["echo"] == 3
