"""Published versions, aliases with weights, tags."""

import collections
import re

import pytest

from functions import ECHO, UUID, arn, create, good, invoke, name, refused, wait_updated, zipped

VERSION = "def handler(e, c): return {}\n"


def update(client, function, value):
    client.update_function_code(FunctionName=function, ZipFile=zipped({"app.py": VERSION.format(repr(value))}))
    wait_updated(client, function)


@pytest.fixture
def versions(client, function):
    """A function with the versions 1 and 2, that answer `one` and `two`; `$LATEST` answers `latest`."""
    each = function(VERSION.format("'one'"))
    client.publish_version(FunctionName=each)
    update(client, each, "two")
    client.publish_version(FunctionName=each)
    update(client, each, "latest")
    return each


def test_a_version_keeps_what_was_published(client, versions):
    answers = {q: good(invoke(client, versions, Qualifier=q)) for q in ("1", "2", "$LATEST")}
    assert answers == {"1": "one", "2": "two", "$LATEST": "latest"}
    assert invoke(client, versions, Qualifier="2").version == "2"


def test_publish_answers_an_active_version(client, function):
    each = function(ECHO, Description="of the function", Environment={"Variables": {"KEPT": "1"}})
    latest = client.get_function_configuration(FunctionName=each)
    answer = client.publish_version(FunctionName=each, Description="of the version")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (answer["Version"], answer["FunctionArn"]) == ("1", f"{arn(each)}:1")
    assert (answer["State"], answer["LastUpdateStatus"]) == ("Active", "Successful")
    assert answer["Description"] == "of the version"
    assert re.fullmatch(UUID, answer["RevisionId"]) and answer["RevisionId"] != latest["RevisionId"]
    client.update_function_configuration(FunctionName=each, Environment={"Variables": {"KEPT": "2"}}, Description="new")
    wait_updated(client, each)
    version = client.get_function_configuration(FunctionName=each, Qualifier="1")
    assert (version["Environment"], version["Description"]) == ({"Variables": {"KEPT": "1"}}, "of the version")


def test_an_unchanged_function_publishes_the_same_version_again(client, function):
    each = function(ECHO)
    first, second = (client.publish_version(FunctionName=each) for _ in range(2))
    assert (second["Version"], second["RevisionId"]) == ("1", first["RevisionId"])


def test_publish_checks_the_code_hash(client, function):
    each = function(ECHO)
    current = client.get_function_configuration(FunctionName=each)["CodeSha256"]
    message = f"CodeSHA256 (nope) is different from current CodeSHA256 in $LATEST ({current}). Please try again with the CodeSHA256 in $LATEST."
    with refused("InvalidParameterValueException", 400, message):
        client.publish_version(FunctionName=each, CodeSha256="nope")
    assert client.publish_version(FunctionName=each, CodeSha256=current)["Version"] == "1"


def test_publish_during_an_update_is_a_conflict(client, function):
    each = function(ECHO)
    client.update_function_configuration(FunctionName=each, Timeout=5)
    try:
        published = client.publish_version(FunctionName=each)
        assert published["Timeout"] == 5, "the update was over already: then it is what was published"
    except client.exceptions.ResourceConflictException as error:
        assert "An update is in progress for resource" in str(error)


def test_versions_are_listed_in_pages(client, versions):
    page = client.list_versions_by_function(FunctionName=versions, MaxItems=2)
    assert [v["Version"] for v in page["Versions"]] == ["$LATEST", "1"]
    assert [v["FunctionArn"] for v in page["Versions"]] == [f"{arn(versions)}:$LATEST", f"{arn(versions)}:1"]
    rest = client.list_versions_by_function(FunctionName=versions, Marker=page["NextMarker"])
    assert [v["Version"] for v in rest["Versions"]] == ["2"]
    assert "NextMarker" not in rest


def test_a_deleted_version_is_gone_and_its_number_is_not_given_again(client, versions):
    client.delete_function(FunctionName=versions, Qualifier="2")
    with refused("ResourceNotFoundException", 404, f"Function not found: {arn(versions)}:2"):
        client.get_function(FunctionName=versions, Qualifier="2")
    with refused("ResourceNotFoundException", 404, f"Function not found: {arn(versions)}:2"):
        client.invoke(FunctionName=versions, Qualifier="2")
    assert client.publish_version(FunctionName=versions)["Version"] == "3"
    client.delete_function(FunctionName=versions, Qualifier="42")


def test_the_newest_version_after_it_was_deleted_is_published_anew(client, function):
    each = function(ECHO)
    client.publish_version(FunctionName=each)
    client.delete_function(FunctionName=each, Qualifier="1")
    assert client.publish_version(FunctionName=each)["Version"] == "2"


def test_an_alias_runs_its_version_and_moves(client, versions):
    made = client.create_alias(FunctionName=versions, Name="live", FunctionVersion="1", Description="d")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["AliasArn"], made["Name"], made["FunctionVersion"], made["Description"]) == (f"{arn(versions)}:live", "live", "1", "d")
    assert "RoutingConfig" not in made
    answer = invoke(client, versions, Qualifier="live")
    assert (good(answer), answer.version) == ("one", "1")
    moved = client.update_alias(FunctionName=versions, Name="live", FunctionVersion="2")
    assert moved["RevisionId"] != made["RevisionId"]
    answer = invoke(client, f"{versions}:live")
    assert (good(answer), answer.version) == ("two", "2")
    got = client.get_alias(FunctionName=versions, Name="live")
    assert {k: got[k] for k in moved if k != "ResponseMetadata"} == {k: v for k, v in moved.items() if k != "ResponseMetadata"}
    configuration = client.get_function_configuration(FunctionName=versions, Qualifier="live")
    assert (configuration["FunctionArn"], configuration["Version"]) == (f"{arn(versions)}:live", "2")


def test_an_alias_with_weights_shares_calls(client, versions):
    client.create_alias(FunctionName=versions, Name="canary", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
    seen = collections.Counter(invoke(client, versions, Qualifier="canary").version for _ in range(60))
    assert set(seen) == {"1", "2"} and min(seen.values()) >= 10, seen
    client.update_alias(FunctionName=versions, Name="canary", RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}})
    assert {invoke(client, versions, Qualifier="canary").version for _ in range(10)} == {"2"}
    cleared = client.update_alias(FunctionName=versions, Name="canary", RoutingConfig={"AdditionalVersionWeights": {}})
    assert "RoutingConfig" not in cleared
    assert {invoke(client, versions, Qualifier="canary").version for _ in range(10)} == {"1"}


def test_aliases_are_listed_filtered_and_deleted(client, versions):
    for alias, version in (("a", "1"), ("b", "2"), ("c", "2")):
        client.create_alias(FunctionName=versions, Name=alias, FunctionVersion=version)
    names = lambda **more: [a["Name"] for a in client.list_aliases(FunctionName=versions, **more)["Aliases"]]
    assert names() == ["a", "b", "c"]
    assert names(FunctionVersion="2") == ["b", "c"]
    page = client.list_aliases(FunctionName=versions, MaxItems=2)
    assert names(Marker=page["NextMarker"]) == ["c"]
    assert client.delete_alias(FunctionName=versions, Name="b")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert names() == ["a", "c"]
    assert client.delete_alias(FunctionName=versions, Name="b")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_refusals_of_aliases(client, versions):
    client.create_alias(FunctionName=versions, Name="live", FunctionVersion="1")
    own = arn(versions)
    with refused("ResourceConflictException", 409, f"Alias already exists: {own}:live"):
        client.create_alias(FunctionName=versions, Name="live", FunctionVersion="1")
    with refused("ResourceNotFoundException", 404, f"Cannot find alias arn: {own}:none"):
        client.get_alias(FunctionName=versions, Name="none")
    with refused("ResourceNotFoundException", 404, f"Alias not found: {own}:none"):
        client.update_alias(FunctionName=versions, Name="none", FunctionVersion="1")
    with refused("ResourceNotFoundException", 404, f"Function not found: {own}:none"):
        client.invoke(FunctionName=versions, Qualifier="none")
    with refused("ResourceNotFoundException", 404, f"Function not found: {own}:none"):
        client.get_function(FunctionName=versions, Qualifier="none")
    with refused("ResourceNotFoundException", 404, f"Function not found: {own}:10"):
        client.create_alias(FunctionName=versions, Name="x", FunctionVersion="10")
    unknown = name()
    with refused("ResourceNotFoundException", 404, f"Function not found: {arn(unknown)}:1"):
        client.create_alias(FunctionName=unknown, Name="x", FunctionVersion="1")
    weights = lambda **w: {"AdditionalVersionWeights": {k.strip("v"): v for k, v in w.items()}}
    with refused("InvalidParameterValueException", 400, "Number of items in AdditionalVersionWeights cannot be greater than 1"):
        client.update_alias(FunctionName=versions, Name="live", RoutingConfig=weights(v2=0.1, v1=0.1))
    message = "Invalid function version 1. Function version 1 is already included in routing configuration."
    with refused("InvalidParameterValueException", 400, message):
        client.update_alias(FunctionName=versions, Name="live", RoutingConfig=weights(v1=0.1))
    with refused("InvalidParameterValueException", 400, "$LATEST is not supported for an alias pointing to more than 1 version"):
        client.create_alias(FunctionName=versions, Name="x", FunctionVersion="$LATEST", RoutingConfig=weights(v1=0.1))
    with refused("ValidationException", 400, match="Map value must satisfy constraint"):
        client.update_alias(FunctionName=versions, Name="live", RoutingConfig=weights(v2=1.5))
    with refused("ValidationException", 400, match="Map keys must satisfy constraint"):
        client.update_alias(FunctionName=versions, Name="live", RoutingConfig={"AdditionalVersionWeights": {"$LATEST": 0.5}})
    with refused("ValidationException", 400, match="'name' failed to satisfy constraint"):
        client.create_alias(FunctionName=versions, Name="123", FunctionVersion="1")
    with refused("PreconditionFailedException", 412):
        client.update_alias(FunctionName=versions, Name="live", Description="x", RevisionId="0")


def test_a_version_with_an_alias_is_not_deleted(client, versions):
    client.create_alias(FunctionName=versions, Name="live", FunctionVersion="1")
    with refused("ResourceConflictException", 409):
        client.delete_function(FunctionName=versions, Qualifier="1")
    assert good(invoke(client, versions, Qualifier="live")) == "one"


def test_derived_and_given_qualifiers_must_agree(client, versions):
    message = "The derived qualifier from the function name does not match the specified qualifier."
    with refused("InvalidParameterValueException", 400, message):
        client.invoke(FunctionName=f"{versions}:1", Qualifier="2")
    assert good(invoke(client, f"{versions}:1", Qualifier="1")) == "one"


def test_tags_are_added_replaced_and_removed(client, function):
    each = function(ECHO, Tags={"a": "1"})
    own = arn(each)
    assert client.tag_resource(Resource=own, Tags={"b": "2", "a": "3", "ü/+ @": ""})["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.list_tags(Resource=own)["Tags"] == {"a": "3", "b": "2", "ü/+ @": ""}
    assert client.untag_resource(Resource=own, TagKeys=["a", "ü/+ @", "none"])["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.list_tags(Resource=own)["Tags"] == {"b": "2"}


def test_refusals_of_tags(gateway, client, function):
    each = function(ECHO)
    client.publish_version(FunctionName=each)
    message = "Tags on function aliases and versions are not supported. Please specify a function ARN."
    with refused("InvalidParameterValueException", 400, message):
        client.tag_resource(Resource=f"{arn(each)}:1", Tags={"a": "b"})
    with refused("InvalidParameterValueException", 400, "An error occurred and the request cannot be processed."):
        client.tag_resource(Resource=arn(each), Tags={})
    with refused("InvalidParameterValueException", 400, "Number of tags exceeds resource tag limit."):
        client.tag_resource(Resource=arn(each), Tags={str(n): "" for n in range(51)})
    assert client.list_tags(Resource=arn(each))["Tags"] == {}
    with refused("ResourceNotFoundException", 404, f"Function not found: {arn('none')}"):
        client.list_tags(Resource=arn("none"))
    with refused("ValidationException", 400, match="at 'resource' failed to satisfy constraint"):
        client.list_tags(Resource="not an arn")
    status, _, body = gateway.request("DELETE", "/2017-03-31/tags/" + arn(each).replace(":", "%3A"))
    assert status == 400 and b"Value null at 'tagKeys' failed to satisfy constraint: Member must not be null" in body


def test_concurrency_is_put_read_and_deleted(client, function):
    each = function(ECHO)
    without = lambda answer: {k: v for k, v in answer.items() if k != "ResponseMetadata"}
    assert without(client.get_function_concurrency(FunctionName=each)) == {}
    assert without(client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=5)) == {"ReservedConcurrentExecutions": 5}
    assert without(client.get_function_concurrency(FunctionName=each)) == {"ReservedConcurrentExecutions": 5}
    assert client.delete_function_concurrency(FunctionName=each)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert without(client.get_function_concurrency(FunctionName=each)) == {}


def test_refusals_of_concurrency(gateway):
    client = gateway.client(account="777788889999")
    each = create(client, ECHO)
    try:
        message = "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
        with refused("InvalidParameterValueException", 400, message):
            client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=901)
        client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=900)
        message = "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN."
        for call in (client.get_function_concurrency, client.delete_function_concurrency):
            with refused("InvalidParameterValueException", 400, message):
                call(FunctionName=f"{each}:1")
        with refused("ResourceNotFoundException", 404, f"Function not found: {arn('none', account='777788889999')}"):
            client.put_function_concurrency(FunctionName="none", ReservedConcurrentExecutions=1)
    finally:
        client.delete_function(FunctionName=each)


def test_deleting_a_function_takes_its_versions_and_aliases_with_it(client, versions):
    client.create_alias(FunctionName=versions, Name="live", FunctionVersion="1")
    client.delete_function(FunctionName=versions)
    for qualifier in ("1", "live", "$LATEST"):
        with refused("ResourceNotFoundException", 404):
            client.invoke(FunctionName=versions, Qualifier=qualifier)


def test_an_alias_is_invoked_in_each_form_of_its_arn(client, function):
    each = function(ECHO)
    client.publish_version(FunctionName=each)
    client.create_alias(FunctionName=each, Name="live", FunctionVersion="1")
    for form in (f"{arn(each)}:live", f"000000000000:function:{each}:live"):
        assert invoke(client, form, 1).version == "1"
