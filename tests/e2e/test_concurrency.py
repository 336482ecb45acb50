"""Limits are exact, bursts are answered, idle environments leave, and LocalStack's variables work."""

import os
import time

import botocore.exceptions
import pytest

from functions import ECHO, create, good, invoke, refused, together, until
from gateway import refuses_to_start, running
from machine import alive, processes_below

# When it began and ended, by a clock that all processes of the machine share.
SPAN = "import time, uuid\nborn = str(uuid.uuid4())\ndef handler(event, context):\n    began = time.monotonic()\n    time.sleep(event)\n    return [began, time.monotonic(), born]\n"
RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
ACCOUNT = "ConcurrentInvocationLimitExceeded"


def most_at_once(spans):
    """The most of (begin, end, …) that overlap."""
    edges = sorted([(begin, 1) for begin, *_ in spans] + [(end, -1) for _, end, *_ in spans])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def outcomes(results):
    """What came of calls: the spans, and the reasons of throttles. Anything else fails."""
    spans, reasons = [], []
    for result in results:
        if isinstance(result, botocore.exceptions.ClientError):
            assert result.response["Error"]["Code"] == "TooManyRequestsException", result
            assert result.response["ResponseMetadata"]["HTTPStatusCode"] == 429
            assert result.response["Error"]["Message"] == "Rate Exceeded."
            reasons.append(result.response["Reason"])
        elif isinstance(result, Exception):
            raise result
        else:
            spans.append(good(result))
    return spans, reasons


def test_reserved_concurrency_is_exact(client, function):
    each = function(SPAN, Timeout=30)
    client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=3)
    spans, reasons = outcomes(together(12, lambda _: invoke(client, each, 3)))
    assert (len(spans), len(reasons), set(reasons)) == (3, 9, {RESERVED})
    client.delete_function_concurrency(FunctionName=each)
    spans, reasons = outcomes(together(6, lambda _: invoke(client, each, 2)))
    assert (len(spans), reasons) == (6, [])


def test_reserved_zero_throttles_everything_until_it_is_deleted(client, function):
    each = function(ECHO)
    client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=0)
    with refused("TooManyRequestsException", 429, "Rate Exceeded."):
        client.invoke(FunctionName=each)
    client.delete_function_concurrency(FunctionName=each)
    assert good(invoke(client, each, 1)) == 1


def test_a_throttle_is_on_the_wire_as_aws_sends_it(gateway, client, function):
    each = function(ECHO)
    client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=0)
    status, headers, body = gateway.request("POST", f"/2015-03-31/functions/{each}/invocations", b"{}")
    assert (status, headers["x-amzn-ErrorType"]) == (429, "TooManyRequestsException")
    assert body.decode() == f'{{"Type":"User","Reason":"{RESERVED}","message":"Rate Exceeded."}}'


def test_all_versions_share_a_reservation(client, function):
    each = function(SPAN, Timeout=30)
    client.publish_version(FunctionName=each)
    client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=2)
    spans, reasons = outcomes(together(6, lambda n: invoke(client, each, 3, Qualifier=("1", "$LATEST")[n % 2])))
    assert (len(spans), set(reasons)) == (2, {RESERVED})


def test_a_permit_comes_back_after_every_kind_of_end(client, function):
    code = "import os, time\ndef handler(e, c):\n    if e == 'exit': os._exit(1)\n    if e == 'raise': raise Exception()\n    if e == 'hang': time.sleep(60)\n    return 1\n"
    each = function(code, Timeout=2)
    client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=1)
    for event in ("exit", "raise", "hang", "exit", None):
        answer = invoke(client, each, event)
        assert (answer.error is None) == (event is None), answer.raw


def test_the_account_limit_is_exact_under_load():
    limits = {"LAMBDA_LIMITS_CONCURRENT_EXECUTIONS": "8", "LAMBDA_LIMITS_MINIMUM_UNRESERVED_CONCURRENCY": "2"}
    with running(env=limits) as gateway:
        client = gateway.client()
        one, two = create(client, SPAN, Timeout=30), create(client, SPAN, Timeout=30)
        assert client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 8
        spans, reasons = [], []

        def call(number):
            seen = []
            for _ in range(6):
                try:
                    seen.append(invoke(client, (one, two)[number % 2], 0.1, tail=False))
                except client.exceptions.TooManyRequestsException as throttle:
                    seen.append(throttle)
            return seen

        for results in together(24, call):
            some, other = outcomes(results)
            spans, reasons = spans + some, reasons + other
        assert len(spans) + len(reasons) == 144
        assert set(reasons) == {ACCOUNT}
        assert most_at_once(spans) <= 8
        # All of it is used: eight long ones run at once, the ninth does not.
        spans, reasons = outcomes(together(9, lambda n: invoke(client, (one, two)[n % 2], 4, tail=False)))
        assert (most_at_once(spans), len(spans), reasons) == (8, 8, [ACCOUNT])
        client.put_function_concurrency(FunctionName=one, ReservedConcurrentExecutions=6)
        assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 2
        spans, reasons = outcomes(together(4, lambda _: invoke(client, two, 3, tail=False)))
        assert (len(spans), reasons) == (2, [ACCOUNT] * 2)
        with refused("InvalidParameterValueException", 400, match=r"below its minimum value of \[2\]"):
            client.put_function_concurrency(FunctionName=two, ReservedConcurrentExecutions=1)


def test_a_burst_of_50_without_an_environment_is_answered():
    with running() as gateway:
        client = gateway.client()
        function = create(client, "def handler(e, c): return e\n", Timeout=60)
        answers = together(50, lambda number: good(invoke(client, function, number, tail=False)))
        assert answers == list(range(50))


def environments(gateway):
    census = gateway.pool()
    return census["bound"] + census["claiming"]


def test_keepalive_zero_uses_an_environment_once():
    with running(env={"LAMBDA_KEEPALIVE_MS": "0"}) as gateway:
        client = gateway.client()
        function = create(client, SPAN)
        born = [good(invoke(client, function, 0))[2] for _ in range(4)]
        assert len(set(born)) == 4
        until(lambda: environments(gateway) == 0, "no environment is left")


def test_keepalive_ends_idle_environments_with_their_processes():
    with running(None, "--generic-workers", "0", env={"LAMBDA_KEEPALIVE_MS": "1000"}) as gateway:
        client = gateway.client()
        without = processes_below(gateway.process.pid)
        function = create(client, SPAN)
        first = good(invoke(client, function, 0))
        assert good(invoke(client, function, 0))[2] == first[2]
        idle_since = time.monotonic()
        its = processes_below(gateway.process.pid) - without
        assert its
        until(lambda: environments(gateway) == 0, "the environment is gone", 10)
        assert time.monotonic() - idle_since >= 0.9
        until(lambda: not alive(its), "its processes are gone", 10)
        assert good(invoke(client, function, 0))[2] != first[2]


def test_an_environment_in_use_is_not_ended_by_its_keepalive():
    with running(env={"LAMBDA_KEEPALIVE_MS": "300"}) as gateway:
        client = gateway.client()
        function = create(client, SPAN)
        good(invoke(client, function, 2))


def test_synchronous_create_answers_active():
    with running(env={"LAMBDA_SYNCHRONOUS_CREATE": "1"}) as gateway:
        client = gateway.client()
        function = create(client, ECHO, wait=False)
        assert client.get_function_configuration(FunctionName=function)["State"] == "Active"
        assert good(invoke(client, function, 1)) == 1
        updated = client.update_function_configuration(FunctionName=function, Timeout=4)
        assert updated["LastUpdateStatus"] == "Successful"


def test_limits_of_sizes_follow_their_variables():
    sizes = {
        "LAMBDA_LIMITS_CODE_SIZE_ZIPPED": "20000",
        "LAMBDA_LIMITS_CODE_SIZE_UNZIPPED": "50000",
        "LAMBDA_LIMITS_TOTAL_CODE_SIZE": "30000",
        "LAMBDA_LIMITS_CREATE_FUNCTION_REQUEST_SIZE": "60000",
        "LAMBDA_LIMITS_MAX_FUNCTION_ENVVAR_SIZE_BYTES": "50",
        "LAMBDA_LIMITS_MAX_FUNCTION_PAYLOAD_SIZE_BYTES": "1000",
    }
    with running(env=sizes) as gateway:
        client = gateway.client()
        limit = client.get_account_settings()["AccountLimit"]
        assert (limit["TotalCodeSize"], limit["CodeSizeZipped"], limit["CodeSizeUnzipped"]) == (30000, 20000, 50000)
        with refused("RequestEntityTooLargeException", 413, "Zipped size must be smaller than 20000 bytes"):
            create(client, {"x": os.urandom(20001)}, wait=False)
        with refused("InvalidParameterValueException", 400, "Unzipped size must be smaller than 50000 bytes"):
            create(client, {"x": b"0" * 50001}, wait=False)
        with refused("RequestEntityTooLargeException", 413, "Request must be smaller than 60000 bytes for the CreateFunction operation"):
            create(client, {"x": os.urandom(60001)}, wait=False)
        with refused("InvalidParameterValueException", 400, match="^Lambda was unable to configure your environment variables"):
            create(client, ECHO, wait=False, Environment={"Variables": {"LONG": "x" * 50}})
        first = create(client, {"app.py": "def handler(e, c): return 'x' * e\n", "x": os.urandom(15000)})
        with refused("CodeStorageExceededException", 400, "Code storage limit exceeded."):
            create(client, {"x": os.urandom(15500)}, wait=False)
        assert len(good(invoke(client, first, 998))) == 998
        assert invoke(client, first, 999).value["errorType"] == "Function.ResponseSizeTooLarge"


def test_the_endpoint_variable_can_be_switched_off_and_named():
    code = "import os\ndef handler(e, c): return [os.environ.get(n) for n in ('AWS_ENDPOINT_URL', 'LOCALSTACK_HOSTNAME', 'EDGE_PORT')]\n"
    with running(env={"LAMBDA_DISABLE_AWS_ENDPOINT_URL": "1"}) as gateway:
        client = gateway.client()
        assert good(invoke(client, create(client, code)))[0] is None
    with running(env={"HOSTNAME_FROM_LAMBDA": "gateway.test"}) as gateway:
        client = gateway.client()
        url, host, port = good(invoke(client, create(client, code)))
        assert (url, host) == (f"http://gateway.test:{port}", "gateway.test")


def test_deprecated_runtimes_are_refused_only_when_asked_to():
    with running(env={"LAMBDA_RUNTIME_VALIDATION": "1"}) as gateway:
        message = "The runtime parameter of python3.7 is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions."
        with refused("InvalidParameterValueException", 400, message):
            create(gateway.client(), ECHO, Runtime="python3.7")
    with running() as gateway:
        client = gateway.client()
        assert good(invoke(client, create(client, ECHO, Runtime="python3.7"), 1)) == 1


def test_the_gateways_log_cuts_functions_lines():
    with running(env={"LAMBDA_TRUNCATE_STDOUT": "10"}) as gateway:
        client = gateway.client()
        good(invoke(client, create(client, "def handler(e, c): print('0123456789ABCDEF')\n")))
        until(lambda: "0123456789" in gateway.said(), "the line")
        assert "0123456789A" not in gateway.said()


def test_name_server_of_the_functions():
    with running(env={"LAMBDA_DOCKER_DNS": "192.0.2.53"}) as gateway:
        client = gateway.client()
        assert "nameserver 192.0.2.53" in good(invoke(client, create(client, "def handler(e, c): return open('/etc/resolv.conf').read()\n")))


def test_listen_address_of_localstack():
    with running(env={"GATEWAY_LISTEN": "127.0.0.1:0,0.0.0.0:443"}, listen=None) as gateway:
        assert gateway.request("GET", "/_localstack/health")[0] == 200


def test_variables_without_effect_are_named_once():
    with running(env={"LAMBDA_REMOVE_CONTAINERS": "0", "LAMBDA_RUNTIME_EXECUTOR": "docker", "LAMBDA_EXECUTOR": "docker-reuse"}) as gateway:
        said = gateway.said()
        for variable in ("LAMBDA_REMOVE_CONTAINERS", "LAMBDA_EXECUTOR"):
            assert said.count(f"{variable} is set and has no effect here") == 1
        assert said.count("the executor `docker` means the local engine here") == 1


@pytest.mark.parametrize(
    "variables, text",
    [
        ({"LAMBDA_KEEPALIVE_MS": "soon"}, "LAMBDA_KEEPALIVE_MS=soon is not a whole number that fits"),
        ({"LAMBDA_SYNCHRONOUS_CREATE": "maybe"}, "LAMBDA_SYNCHRONOUS_CREATE=maybe is not 0, 1, true or false"),
        ({"LAMBDA_RUNTIME_EXECUTOR": "podman"}, "LAMBDA_RUNTIME_EXECUTOR=podman is not docker, local or kubernetes"),
        ({"LAMBDA_DOCKER_DNS": "name"}, "LAMBDA_DOCKER_DNS=name is not an IP address"),
        ({"WARMPOD_LISTN": "x"}, "WARMPOD_LISTN is not a setting of warmpod"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_malformed_setting_stops_the_start_with_one_line(tmp_path, variables, text):
    said = refuses_to_start(tmp_path, env=variables)
    lines = [line for line in said.splitlines()[1:] if line.strip()]
    assert len(lines) == 1 and text in lines[0], said


def test_start_timeout_is_the_environment_timeout():
    """A function whose environment cannot be ready in time is a ServiceException, not a hang."""
    with running(None, "--generic-workers", "0", env={"LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT": "0.001"}) as gateway:
        client = gateway.client()
        function = create(client, ECHO)
        with refused("ServiceException", 500, match=rf"^\[[0-9a-f-]{{36}}\] Timeout while starting up lambda environment for function {function}:\$LATEST$"):
            invoke(client, function)
