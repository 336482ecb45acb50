"""Faults as botocore's client raises them."""

import base64
import json

import botocore.exceptions
import pytest
from conftest import MODEL

CODES = [shape.name for shape in MODEL.error_shapes]


def raised(client, answer):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.call("GetAccountSettings", {}, answer)
    return caught.value


@pytest.mark.parametrize("code", CODES)
def test_a_fault_is_raised_as_its_class_with_all_members(wire, client, code):
    shape = MODEL.shape_for(code)
    spelling = next(member for member in shape.members if member.lower() == "message")
    members = {name: f"some {name}" for name in shape.members if name not in (spelling, "Type")}
    answer = wire.ask(fault={"code": code, "message": "what happened", "members": members, "typed": True})["answer"]
    error = raised(client, answer)

    assert type(error).__name__ == code
    side = "User" if shape.metadata["error"].get("senderFault") else "Service"
    assert error.response["Error"] == {"Code": code, "Message": "what happened"}
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == shape.metadata["error"]["httpStatusCode"]
    body = json.loads(base64.b64decode(answer["body"]))
    in_body = {n: v for n, v in members.items() if shape.members[n].serialization.get("location") != "header"}
    assert body == {"Type": side, spelling: "what happened", **in_body}
    for name, value in {"Type": side, **members}.items():
        assert error.response[name] == value


def test_a_fault_without_type_says_nothing_of_it(wire):
    fault = {"code": "InvalidParameterValueException", "message": "m", "members": {}, "typed": False}
    assert json.loads(base64.b64decode(wire.ask(fault=fault)["answer"]["body"])) == {"message": "m"}


@pytest.mark.parametrize(
    "uri, body, code, message",
    [
        ("/2015-03-31/functions/a!/code", "{}", "ValidationException", "1 validation error detected: Value 'a!' at"),
        ("/2015-03-31/functions/f/code", '{"S3Key": 1}', "SerializationException", "NUMBER_VALUE can not be converted to a String"),
        ("/2015-03-31/functions/f/code", '{"S3Key": ', "SerializationException", "Could not parse request body into json: "),
    ],
)
def test_what_no_model_has_is_raised_by_its_code(wire, client, uri, body, code, message):
    command = {"method": "PUT", "uri": uri, "headers": [], "body": base64.b64encode(body.encode()).decode()}
    answer = wire.ask(decode=command)["answer"]
    error = raised(client, answer)
    assert error.response["Error"]["Code"] == code
    assert error.response["Error"]["Message"].startswith(message)
    assert "Type" not in json.loads(base64.b64decode(answer["body"]))
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_path_of_no_operation_is_refused(wire, client):
    answer = wire.ask(decode={"method": "PATCH", "uri": "/2015-03-31/functions", "headers": [], "body": ""})["answer"]
    error = raised(client, answer)
    assert error.response["Error"]["Code"] == "UnknownOperationException"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
