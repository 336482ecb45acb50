"""Requests and answers of every typed operation, against botocore's serialiser and parser."""

import base64
import tomllib

import botocore.exceptions
import pytest
from conftest import ACCOUNT, MODEL, REGION, REPOSITORY, request
from synthesis import Synthesis

TYPED = tomllib.loads((REPOSITORY / "gateway/protocol/generate/lambda.toml").read_text())["operations"]
SEEDS = range(12)
NO_CONTENT = {"status": 204, "headers": [], "body": ""}


def wire_form(value):
    """As JSON has it."""
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: wire_form(member) for key, member in value.items()}
    if isinstance(value, list):
        return [wire_form(element) for element in value]
    return value


def leaves(value, path=""):
    """All values that hold no others, by their paths; empty containers count."""
    if isinstance(value, dict) and value:
        return {p: leaf for key, member in value.items() for p, leaf in leaves(member, f"{path}.{key}").items()}
    if isinstance(value, list) and value:
        return {p: leaf for i, element in enumerate(value) for p, leaf in leaves(element, f"{path}[{i}]").items()}
    return {path: value}


@pytest.mark.parametrize("full", [True, False], ids=["full", "minimal"])
@pytest.mark.parametrize("name", TYPED)
def test_requests_are_understood_leaf_by_leaf(wire, client, name, full):
    for seed in SEEDS:
        parameters = Synthesis(f"{name} {seed}", full).value(MODEL.operation_model(name).input_shape)
        client.call(name, parameters, NO_CONTENT)
        said = wire.ask(decode=request(client.sent))
        assert said["operation"] == name
        assert "input" in said, (parameters, base64.b64decode(said["answer"]["body"]))
        understood = said["input"]
        if name == "Invoke":
            # A body is always there, if only an empty one.
            understood["Payload"] = said["payload"]
            parameters.setdefault("Payload", b"")
        assert leaves(understood) == leaves(wire_form(parameters))


@pytest.mark.parametrize("full", [True, False], ids=["full", "minimal"])
@pytest.mark.parametrize("name", TYPED)
def test_answers_are_parsed_leaf_by_leaf(wire, client, name, full):
    operation = MODEL.operation_model(name)
    for seed in SEEDS:
        output = Synthesis(f"{name} {seed}", full).value(operation.output_shape) if operation.output_shape else None
        answer = wire.ask(encode={"operation": name, "output": wire_form(output)})["answer"]
        parsed = client.call(name, Synthesis(0, False).value(operation.input_shape), answer)
        metadata = parsed.pop("ResponseMetadata")
        wanted = output or {}
        if "StatusCode" in (operation.output_shape.members if operation.output_shape else {}):
            wanted.setdefault("StatusCode", metadata["HTTPStatusCode"])
        if name == "Invoke":
            parsed["Payload"] = parsed["Payload"].read()
            wanted.setdefault("Payload", b"")
        assert leaves(wire_form(parsed)) == leaves(wire_form(wanted))
        modelled = 204 if name == "DeleteFunction" else operation.http["responseCode"]
        assert metadata["HTTPStatusCode"] == wanted.get("StatusCode", modelled)
        assert dict(answer["headers"])["content-type"] == "application/json"


@pytest.mark.parametrize("name", MODEL.operation_names)
def test_every_operation_of_aws_is_known_by_name(wire, client, name):
    parameters = Synthesis(name, True).value(MODEL.operation_model(name).input_shape)
    if name in TYPED:
        client.call(name, parameters, NO_CONTENT)
        assert wire.ask(decode=request(client.sent))["operation"] == name
        return
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        client.call(name, parameters, lambda sent: wire.ask(decode=request(sent))["answer"])
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert refused.value.response["Error"]["Code"] == "NotImplementedException"
    assert f"lambda:{name} " in refused.value.response["Error"]["Message"]


def test_the_caller_is_read_from_botocores_signature(wire, client):
    client.call("GetAccountSettings", {}, NO_CONTENT)
    authorization = dict(request(client.sent)["headers"])["Authorization"]
    wanted = {"access_key": ACCOUNT, "account": ACCOUNT, "region": REGION, "service": "lambda"}
    assert wire.ask(caller={"authorization": authorization, "query": None}) == wanted
    url = client.client.generate_presigned_url("get_function", {"FunctionName": "f"})
    assert wire.ask(caller={"authorization": None, "query": url.partition("?")[2]}) == wanted
