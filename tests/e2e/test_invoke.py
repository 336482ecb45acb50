"""Invoke's request and answer: types, headers, sizes, contexts."""

import base64
import json
import re

import pytest

from functions import ECHO, UUID, arn, good, invoke, refused, wait_updated

SIX_MIB = 6_291_456
CONTEXT = """
import os
def handler(event, context):
    return {
        "id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "version": context.function_version,
        "name": context.function_name,
        "memory": context.memory_limit_in_mb,
        "left": context.get_remaining_time_in_millis(),
        "group": context.log_group_name,
        "stream": context.log_stream_name,
        "client": context.client_context and {"custom": context.client_context.custom, "env": context.client_context.env,
            "app": context.client_context.client.app_title if context.client_context.client else None},
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }
"""


def test_the_answer_is_the_functions_own_bytes(client, function):
    each = function("def handler(event, context):\n    return {'a': [1, None, 'ü', True], 'got': event}\n")
    answer = invoke(client, each, {"x": "é"}, tail=False)
    assert (answer.status, answer.error, answer.version) == (200, None, "$LATEST")
    assert answer.value == {"a": [1, None, "ü", True], "got": {"x": "é"}}
    assert answer.headers["content-type"] == "application/json"
    assert answer.log == ""


def test_none_is_null(client, function):
    assert invoke(client, function("def handler(event, context): pass\n")).raw == b"null"


def test_request_id_is_the_functions_own(client, function):
    answer = invoke(client, function(CONTEXT))
    assert re.fullmatch(UUID, answer.request_id)
    assert good(answer)["id"] == answer.request_id


def test_context_tells_of_the_function(client, function):
    each = function(CONTEXT, MemorySize=256, Timeout=9)
    value = good(invoke(client, each))
    assert (value["arn"], value["version"], value["name"], value["memory"]) == (arn(each), "$LATEST", each, "256")
    assert 7000 < value["left"] <= 9000
    assert value["group"] == f"/aws/lambda/{each}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", value["stream"])
    assert value["client"] is None


def test_invoked_arn_carries_the_qualifier_as_called(client, function):
    each = function(CONTEXT)
    client.publish_version(FunctionName=each)
    client.create_alias(FunctionName=each, Name="live", FunctionVersion="1")
    for qualifier, version in (("1", "1"), ("live", "1"), ("$LATEST", "$LATEST")):
        answer = invoke(client, each, Qualifier=qualifier)
        assert (good(answer)["arn"], good(answer)["version"], answer.version) == (f"{arn(each)}:{qualifier}", version, version)
    assert good(invoke(client, f"{each}:live"))["arn"] == f"{arn(each)}:live"


def test_client_context_reaches_the_function(client, function):
    given = {"custom": {"k": "v"}, "env": {"locale": "de"}, "client": {"app_title": "shop"}}
    header = base64.b64encode(json.dumps(given).encode()).decode()
    seen = good(invoke(client, function(CONTEXT), ClientContext=header))["client"]
    assert seen == {"custom": {"k": "v"}, "env": {"locale": "de"}, "app": "shop"}


@pytest.mark.parametrize("context", ["x" * 3584, "not base64!"])
def test_client_context_that_is_too_long_or_not_base64_is_refused(gateway, function, context):
    path = f"/2015-03-31/functions/{function(ECHO)}/invocations"
    status, headers, _ = gateway.request("POST", path, b"{}", {"X-Amz-Client-Context": context})
    assert (status, headers["x-amzn-ErrorType"]) == (400, "InvalidRequestContentException")


def test_trace_root_and_decision_come_through(gateway, client, function):
    each = function(CONTEXT)
    root = "1-5759e988-bd862e3fe1be46a994272793"
    path = f"/2015-03-31/functions/{each}/invocations"
    status, headers, body = gateway.request("POST", path, b"{}", {"X-Amzn-Trace-Id": f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1"})
    assert status == 200
    assert json.loads(body)["trace"] == f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1"
    assert headers["X-Amzn-Trace-Id"] == f"Root={root};Sampled=1"
    own = good(invoke(client, each))["trace"]
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", own)


def test_dry_run_answers_204_and_runs_nothing(client, function):
    each = function("raise SystemExit('it ran')\n")
    answer = client.invoke(FunctionName=each, InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert answer["Payload"].read() == b""
    assert "ExecutedVersion" not in answer
    with refused("ResourceNotFoundException", 404):
        client.invoke(FunctionName=each, InvocationType="DryRun", Qualifier="5")


def test_an_event_is_accepted_with_an_empty_202(client, function):
    answer = client.invoke(FunctionName=function(ECHO), InvocationType="Event", Payload=b"{}")
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    assert "ExecutedVersion" not in answer and "LogResult" not in answer


def test_an_empty_body_is_an_empty_event(client, function):
    assert good(invoke(client, function(ECHO), b"")) == {}


def test_pending_functions_are_not_invoked(client, function):
    each = function(ECHO, wait=False)
    try:
        client.invoke(FunctionName=each)
    except client.exceptions.ResourceConflictException as error:
        message = "The operation cannot be performed at this time. The function is currently in the following state: Pending"
        assert error.response["Error"]["Message"] == message
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 409


def test_a_bad_invocation_type_is_a_validation_error(client, function):
    with refused("ValidationException", 400, match="^1 validation error detected: Value 'Maybe' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: \\[Event, RequestResponse, DryRun\\]$"):
        client.invoke(FunctionName=function(ECHO), InvocationType="Maybe")


def test_an_unknown_log_type_is_refused(client, function):
    with refused("ValidationException", 400, match="^1 validation error detected: Value 'Head' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: \\[None, Tail\\]$"):
        client.invoke(FunctionName=function(ECHO), LogType="Head")


@pytest.mark.parametrize("header", ["x-amz-durable-execution-name", "x-amz-tenant-id"])
def test_an_invocation_of_a_kind_that_is_not_here_is_refused_and_not_run(gateway, function, header):
    path = f"/2015-03-31/functions/{function(ECHO)}/invocations"
    status, headers, _ = gateway.request("POST", path, b"{}", {header: "x"})
    assert (status, headers["x-amzn-errortype"]) == (501, "NotImplementedException")


@pytest.mark.parametrize(
    "body, text",
    [
        (b"\x87", "Invalid UTF-8 start byte 0x87"),
        (b"hello", "Unrecognized token 'hello': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"),
        (b"<a>", "Unexpected character ('<' (code 60)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"),
    ],
)
def test_what_is_not_json_is_refused_in_awss_words(client, function, body, text):
    source = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 1]"
    message = f"Could not parse request body into json: Could not parse payload into json: {text}\n at {source}"
    with refused("InvalidRequestContentException", 400, message):
        client.invoke(FunctionName=function(ECHO), Payload=body)


@pytest.mark.parametrize("kind", ["RequestResponse", "Event", "DryRun"])
@pytest.mark.parametrize("body", [b"{", b'{"a":1} x', b'{"a":NaN}', b"'a'", b'{"a":"\xff"}'])
def test_json_is_checked_for_every_type(client, function, kind, body):
    with refused("InvalidRequestContentException", 400, match="^Could not parse request body into json"):
        client.invoke(FunctionName=function(ECHO), InvocationType=kind, Payload=body)


def test_six_mib_go_in_and_one_byte_more_does_not(client, function):
    each = function("def handler(event, context): return len(event)\n", MemorySize=512, Timeout=30)
    most = b'"' + b"x" * (SIX_MIB - 2) + b'"'
    assert good(invoke(client, each, most)) == SIX_MIB - 2
    with refused("RequestEntityTooLargeException", 413, "Request must be smaller than 6291456 bytes for the InvokeFunction operation"):
        client.invoke(FunctionName=each, Payload=most + b" ")
    assert good(invoke(client, each, b'"x"')) == 1


def test_six_mib_come_out_and_one_byte_more_does_not(client, function):
    each = function("def handler(event, context): return 'x' * event\n", MemorySize=512, Timeout=30)
    most = 6_291_556
    answer = invoke(client, each, most - 2)
    assert (answer.error, len(answer.raw)) == (None, most)
    answer = invoke(client, each, most - 1)
    assert answer.error == "Unhandled"
    assert answer.raw == b'{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}'
    # The environment stays usable.
    after = invoke(client, each, 3)
    assert good(after) == "xxx" and not after.is_cold and "Init Duration" not in after.log


def test_one_mib_is_the_most_of_an_event(client, function):
    each = function(ECHO)
    most = b'"' + b"x" * (1_048_576 - 2) + b'"'
    assert client.invoke(FunctionName=each, InvocationType="Event", Payload=most)["StatusCode"] == 202
    with refused("RequestEntityTooLargeException", 413, "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"):
        client.invoke(FunctionName=each, InvocationType="Event", Payload=most + b" ")


def test_a_chunked_body_is_bounded_as_well(gateway, function):
    import http.client

    each = function(ECHO)
    connection = http.client.HTTPConnection(*gateway.address(), timeout=30)
    part = b"x" * 1_000_000
    try:
        connection.request("POST", f"/2015-03-31/functions/{each}/invocations", body=iter([part] * 8), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        answer = connection.getresponse()
        assert answer.status == 413
    except (BrokenPipeError, ConnectionResetError):
        # It was cut off while it still sent: as good, as long as the gateway lives.
        pass
    finally:
        connection.close()
    assert gateway.request("GET", "/_warmpod/health")[0] == 200


def test_a_handlers_error_document_that_is_returned_is_a_success(client, function):
    answer = invoke(client, function("def handler(e, c): return {'errorType': 'X', 'errorMessage': 'y'}\n"))
    assert (answer.error, answer.value["errorType"]) == (None, "X")


def test_an_update_of_the_environment_shows_in_the_next_invocation(client, function):
    each = function("import os\ndef handler(e, c): return os.environ.get('AA')\n", Environment={"Variables": {"AA": "1"}})
    assert good(invoke(client, each)) == "1"
    client.update_function_configuration(FunctionName=each, Environment={"Variables": {"AA": "2"}})
    wait_updated(client, each)
    assert good(invoke(client, each)) == "2"


def test_invocations_of_one_caller_are_answered_in_order_over_one_connection(gateway, function):
    import http.client

    each = function(ECHO)
    connection = http.client.HTTPConnection(*gateway.address(), timeout=30)
    for number in range(50):
        connection.request("POST", f"/2015-03-31/functions/{each}/invocations", body=str(number))
        assert connection.getresponse().read() == str(number).encode()
    connection.close()
