"""CreateFunction, GetFunction, ListFunctions, updates and DeleteFunction, their states and refusals."""

import base64
import hashlib
import re
import time
import urllib.request

import pytest

from functions import ECHO, PYTHON, ROLE, UUID, arn, create, good, invoke, name, refused, together, wait_active, wait_updated, zipped


@pytest.fixture
def made(client, function):
    """A name that is deleted at the end, for tests which call CreateFunction themselves."""
    names = []

    def one():
        names.append(name())
        return names[-1]

    yield one
    for each in names:
        try:
            client.delete_function(FunctionName=each)
        except client.exceptions.ResourceNotFoundException:
            pass


def without_metadata(answer):
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def test_create_answers_every_default(client, made):
    function, package = made(), zipped({"app.py": ECHO})
    answer = client.create_function(
        FunctionName=function, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code={"ZipFile": package}
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    revision = answer.pop("RevisionId")
    assert re.fullmatch(UUID, revision)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", answer.pop("LastModified"))
    runtime = answer.pop("RuntimeVersionConfig")["RuntimeVersionArn"]
    assert re.fullmatch(r"arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}", runtime)
    assert without_metadata(answer) == {
        "Architectures": ["x86_64"],
        "CodeSha256": base64.b64encode(hashlib.sha256(package).digest()).decode(),
        "CodeSize": len(package),
        "Description": "",
        "EphemeralStorage": {"Size": 512},
        "FunctionArn": arn(function),
        "FunctionName": function,
        "Handler": "app.handler",
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function}"},
        "MemorySize": 128,
        "PackageType": "Zip",
        "Role": ROLE,
        "Runtime": PYTHON,
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "Timeout": 3,
        "TracingConfig": {"Mode": "PassThrough"},
        "Version": "$LATEST",
    }
    wait_active(client, function)
    active = client.get_function_configuration(FunctionName=function)
    assert (active["State"], active["LastUpdateStatus"]) == ("Active", "Successful")
    assert "StateReason" not in active and "StateReasonCode" not in active
    assert active["RevisionId"] != revision


def test_all_four_waiters_succeed(client, function):
    each = function(ECHO, wait=False)
    for waiter in ("function_exists", "function_active", "function_active_v2", "function_updated", "function_updated_v2"):
        client.get_waiter(waiter).wait(FunctionName=each, WaiterConfig={"Delay": 1, "MaxAttempts": 20})


def test_get_function_has_code_that_downloads(client, made):
    function, package = made(), zipped({"app.py": ECHO, "data.bin": bytes(range(256))})
    client.create_function(
        FunctionName=function, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code={"ZipFile": package}
    )
    code = client.get_function(FunctionName=function)["Code"]
    assert code["RepositoryType"] == "S3"
    with urllib.request.urlopen(code["Location"]) as download:
        assert download.read() == package


def test_a_changed_location_does_not_download(client, gateway, function):
    location = client.get_function(FunctionName=function(ECHO))["Code"]["Location"]
    path = location.removeprefix(gateway.url)
    for changed in (path[:-1] + ("0" if path[-1] != "0" else "1"), re.sub(r"expires=\d+", "expires=9999999999999", path)):
        assert gateway.request("GET", changed)[0] == 403


def test_get_function_shows_tags_and_concurrency_only_when_there_are_some(client, function):
    each = function(ECHO)
    answer = client.get_function(FunctionName=each)
    assert "Tags" not in answer and "Concurrency" not in answer
    client.tag_resource(Resource=arn(each), Tags={"team": "blue"})
    client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=3)
    answer = client.get_function(FunctionName=each)
    assert answer["Tags"] == {"team": "blue"}
    assert answer["Concurrency"] == {"ReservedConcurrentExecutions": 3}


def test_functions_are_found_by_all_forms_of_their_name(client, function):
    each = function(ECHO)
    account = f"000000000000:function:{each}"
    for form in (each, f"{each}:$LATEST", account, f"function:{each}", f"us-east-1:{account}", arn(each), arn(each) + ":$LATEST"):
        assert client.get_function_configuration(FunctionName=form)["FunctionName"] == each


def test_accounts_and_regions_are_apart(gateway, function):
    each = function(ECHO)
    for other in (gateway.client(account="123456789012"), gateway.client(region="eu-west-1")):
        assert each not in [f["FunctionName"] for f in other.list_functions()["Functions"]]
        with refused("ResourceNotFoundException", 404):
            other.get_function(FunctionName=each)
    with refused(
        "ResourceNotFoundException",
        404,
        "Functions from 'us-east-1' are not reachable in this region ('eu-west-1')",
    ):
        gateway.client(region="eu-west-1").get_function(FunctionName=arn(each))


def test_unknown_function_is_not_found_by_any_operation(client):
    unknown = name("unknown")
    message = f"Function not found: {arn(unknown)}"
    with refused("ResourceNotFoundException", 404, message):
        client.get_function(FunctionName=unknown)
    with refused("ResourceNotFoundException", 404, message):
        client.get_function_configuration(FunctionName=unknown)
    with refused("ResourceNotFoundException", 404, message):
        client.delete_function(FunctionName=unknown)
    with refused("ResourceNotFoundException", 404, message):
        client.update_function_configuration(FunctionName=unknown, Timeout=4)
    with refused("ResourceNotFoundException", 404, message):
        client.update_function_code(FunctionName=unknown, ZipFile=zipped({"app.py": ECHO}))
    with refused("ResourceNotFoundException", 404, message):
        client.publish_version(FunctionName=unknown)
    with refused("ResourceNotFoundException", 404, message):
        client.list_versions_by_function(FunctionName=unknown)
    with refused("ResourceNotFoundException", 404, message + ":$LATEST"):
        client.invoke(FunctionName=unknown)
    with refused("ResourceNotFoundException", 404, message + ":7"):
        client.get_function(FunctionName=unknown, Qualifier="7")


def test_a_name_is_taken_once(client, function):
    each = function(ECHO)
    with refused("ResourceConflictException", 409, f"Function already exist: {each}"):
        create(client, ECHO, FunctionName=each)


def test_the_error_body_spells_message_as_aws_does(gateway, function):
    each = function(ECHO)
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20251103/us-east-1/lambda/aws4_request, Signature=x"}
    status, seen, body = gateway.request("GET", "/2015-03-31/functions/nope", headers=headers)
    assert (status, seen["x-amzn-ErrorType"]) == (404, "ResourceNotFoundException")
    assert body.decode() == f'{{"Type":"User","Message":"Function not found: {arn("nope")}"}}'
    assert re.fullmatch(UUID, seen["x-amzn-RequestId"])
    status, _, body = gateway.request("PUT", f"/2015-03-31/functions/{each}/configuration", b'{"RevisionId": "0"}', headers)
    assert status == 412
    assert body.startswith(b'{"Type":"User","message":"The Revision Id provided does not match')


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"Timeout": 0}, r"Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1"),
        ({"Timeout": 901}, "timeout.*less than or equal to 900"),
        ({"MemorySize": 127}, r"Value '127' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"),
        ({"MemorySize": 10241}, "memorySize.*less than or equal to 10240"),
        ({"Role": "nobody"}, "Value 'nobody' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern"),
        ({"Architectures": ["x86_64", "arm64"]}, "Value .*x86_64, arm64.* at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1"),
        ({"Architectures": ["X86"]}, r"at 'architectures' failed to satisfy constraint: Member must satisfy constraint: \[Member must satisfy enum value set: \[x86_64, arm64\], Member must not be null\]"),
        ({"EphemeralStorage": {"Size": 511}}, "ephemeralStorage.size.*greater than or equal to 512"),
        ({"EphemeralStorage": {"Size": 10241}}, "ephemeralStorage.size.*less than or equal to 10240"),
        ({"FunctionName": "my-function!"}, "functionName.*regular expression pattern"),
        ({"TracingConfig": {"Mode": "Sometimes"}}, "tracingConfig.mode.*enum value set"),
        ({"PackageType": "Tar"}, "packageType.*enum value set"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_values_outside_of_the_model_are_validation_errors(gateway, wrong, message):
    with refused("ValidationException", 400, match="^1 validation error detected: .*" + message):
        create(gateway.client(parameter_validation=False), ECHO, wait=False, **wrong)


def test_all_wrong_values_are_told_together(gateway):
    each_once = "(?=.*'timeout')(?=.*'memorySize')(?=.*'role')"
    with refused("ValidationException", 400, match=f"^{each_once}3 validation errors detected: "):
        create(gateway.client(parameter_validation=False), ECHO, wait=False, Timeout=9999, MemorySize=1, Role="x")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"Runtime": "python3.99"}, r"^Value python3.99 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: \[nodejs20.x, .*, java8.al2\] or be a valid ARN$"),
        ({"Runtime": PYTHON.capitalize()}, "^Value P"),
        ({"FunctionName": "n" * 65}, f"^1 validation error detected: Value '{'n' * 65}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64$"),
        ({"Environment": {"Variables": {"AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "y"}}}, "^Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION, AWS_ACCESS_KEY_ID$"),
        ({"Environment": {"Variables": {"LARGE": "x" * 4096}}}, '^Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {"LARGE":"x*"}$'),
        ({"Tags": {str(n): "v" for n in range(51)}}, "^Number of tags exceeds resource tag limit.$"),
    ],
    ids=["runtime", "case of runtime", "name of 65", "reserved keys", "4 KB", "51 tags"],
)
def test_values_that_the_model_allows_and_lambda_does_not(client, wrong, message):
    with refused("InvalidParameterValueException", 400, match=message):
        create(client, ECHO, wait=False, **wrong)


def test_runtime_and_handler_are_mandatory_for_zips(client):
    with refused(
        "InvalidParameterValueException",
        400,
        "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
    ):
        client.create_function(FunctionName=name(), Role=ROLE, Code={"ZipFile": zipped({"app.py": ECHO})})


def test_missing_members_are_named(gateway):
    status, _, body = gateway.request("POST", "/2015-03-31/functions", b"{}")
    assert status == 400
    for path in ("functionName", "role", "code"):
        assert f"Value null at '{path}' failed to satisfy constraint: Member must not be null".encode() in body


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"FunctionName": 7}', b'{"Timeout": "3"}', b"\xff\xfe", b'{"Code": []}', b"[" * 100_000])
def test_a_body_of_a_wrong_form_is_refused(gateway, body):
    status, headers, text = gateway.request("POST", "/2015-03-31/functions", body)
    assert status == 400, text
    assert headers["x-amzn-ErrorType"] in ("SerializationException", "ValidationException", "InvalidRequestContentException")


def test_what_is_not_here_is_refused_by_name_and_never_forgotten(client):
    with refused("NotImplementedException", 501, match="Image"):
        client.create_function(FunctionName=name(), Role=ROLE, PackageType="Image", Code={"ImageUri": "x:y"})
    layer = "arn:aws:lambda:us-east-1:000000000000:layer:l:1"
    with refused("NotImplementedException", 501, match="Layers"):
        create(client, ECHO, wait=False, Layers=[layer])


def test_a_runtime_without_an_interpreter_fails_and_says_what_to_install(client, made):
    function = made()
    create(client, {"app.rb": "x"}, wait=False, FunctionName=function, Runtime="ruby3.4")
    deadline = time.monotonic() + 10
    while (state := client.get_function_configuration(FunctionName=function))["State"] == "Pending":
        assert time.monotonic() < deadline
    assert state["State"] == "Failed"
    assert state["StateReasonCode"] == "InvalidRuntime"
    assert state["StateReason"].startswith("the runtime ruby3.4 is not supported yet; this version runs python3.x")
    with refused("ResourceConflictException", 409, match="in the following state: Failed"):
        client.invoke(FunctionName=function)


def test_code_update_runs_the_new_code(client, function):
    each = function("def handler(e, c): return 1\n")
    assert good(invoke(client, each)) == 1
    package = zipped({"app.py": "def handler(e, c): return 2\n"})
    answer = client.update_function_code(FunctionName=each, ZipFile=package)
    assert (answer["LastUpdateStatus"], answer["LastUpdateStatusReasonCode"]) == ("InProgress", "Creating")
    assert answer["LastUpdateStatusReason"] == "The function is being created."
    assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(package).digest()).decode()
    wait_updated(client, each)
    assert good(invoke(client, each)) == 2
    updated = client.get_function_configuration(FunctionName=each)
    assert updated["LastUpdateStatus"] == "Successful"
    assert "LastUpdateStatusReason" not in updated


def test_an_update_changes_only_what_is_given(client, function):
    each = function(ECHO, Environment={"Variables": {"AA": "1", "BB": "2"}}, Description="first", MemorySize=256)
    before = client.get_function_configuration(FunctionName=each)
    client.update_function_configuration(FunctionName=each, Timeout=7, Environment={"Variables": {"CC": "3"}})
    wait_updated(client, each)
    after = client.get_function_configuration(FunctionName=each)
    changed = {key for key in after if after[key] != before.get(key) and key != "ResponseMetadata"}
    assert changed == {"Timeout", "Environment", "RevisionId", "LastModified"}
    assert after["Environment"] == {"Variables": {"CC": "3"}}


def test_a_second_update_in_progress_is_a_conflict(client, function):
    each = function(ECHO)
    client.update_function_configuration(FunctionName=each, Timeout=5)
    message = f"The operation cannot be performed at this time. An update is in progress for resource: {arn(each)}"
    with refused("ResourceConflictException", 409, message):
        client.update_function_configuration(FunctionName=each, Timeout=6)
    client.get_waiter("function_updated_v2").wait(FunctionName=each)
    client.update_function_configuration(FunctionName=each, Timeout=6)


def test_an_update_while_pending_is_a_conflict(client, made):
    function = made()
    create(client, ECHO, wait=False, FunctionName=function)
    with refused("ResourceConflictException", 409):
        client.update_function_code(FunctionName=function, ZipFile=zipped({"app.py": ECHO}))


def test_revision_ids_change_with_updates_only(client, function):
    each = function(ECHO)
    revision = lambda: client.get_function_configuration(FunctionName=each)["RevisionId"]
    first = revision()
    good(invoke(client, each))
    client.tag_resource(Resource=arn(each), Tags={"a": "b"})
    client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=2)
    assert revision() == first
    during = client.update_function_configuration(FunctionName=each, Timeout=5)["RevisionId"]
    wait_updated(client, each)
    assert len({first, during, revision()}) == 3


def test_a_wrong_revision_id_is_refused(client, function):
    each = function(ECHO)
    stale = client.get_function_configuration(FunctionName=each)["RevisionId"]
    client.update_function_configuration(FunctionName=each, Timeout=5, RevisionId=stale)
    wait_updated(client, each)
    message = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    for call in (
        lambda: client.update_function_configuration(FunctionName=each, Timeout=6, RevisionId=stale),
        lambda: client.update_function_code(FunctionName=each, ZipFile=zipped({"app.py": ECHO}), RevisionId=stale),
        lambda: client.publish_version(FunctionName=each, RevisionId=stale),
    ):
        with refused("PreconditionFailedException", 412, message):
            call()
    assert client.get_function_configuration(FunctionName=each)["Timeout"] == 5


def test_a_dry_run_of_a_code_update_changes_nothing(client, function):
    each = function("def handler(e, c): return 1\n")
    before = without_metadata(client.get_function_configuration(FunctionName=each))
    package = zipped({"app.py": "def handler(e, c): return 2\n"})
    told = client.update_function_code(FunctionName=each, ZipFile=package, DryRun=True)
    assert told["CodeSize"] == len(package)
    assert without_metadata(client.get_function_configuration(FunctionName=each)) == before
    assert good(invoke(client, each)) == 1


def test_publish_with_a_code_update_makes_a_version(client, function):
    each = function(ECHO)
    answer = client.update_function_code(FunctionName=each, ZipFile=zipped({"app.py": "def handler(e, c): return 9\n"}), Publish=True)
    assert (answer["Version"], answer["FunctionArn"]) == ("1", arn(each) + ":1")
    wait_updated(client, each)
    assert good(invoke(client, each, Qualifier="1")) == 9


def test_create_with_publish_answers_version_1(client, made):
    function = made()
    answer = client.create_function(
        FunctionName=function, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code={"ZipFile": zipped({"app.py": ECHO})}, Publish=True
    )
    assert answer["Version"] == "1"
    wait_active(client, function)
    assert invoke(client, function, 5, Qualifier="1").version == "1"


def test_an_image_uri_is_not_taken_for_a_zip_function(client, function):
    with refused("InvalidParameterValueException", 400, "Please don't provide ImageUri when updating a function with packageType Zip."):
        client.update_function_code(FunctionName=function(ECHO), ImageUri="a:b")


def test_running_invocations_of_the_old_code_finish(client, function):
    each = function("import time\ndef handler(e, c):\n    time.sleep(2)\n    return 'old'\n")
    invoke(client, each)

    def call(number):
        if number == 0:
            return good(invoke(client, each))
        time.sleep(0.3)
        client.update_function_code(FunctionName=each, ZipFile=zipped({"app.py": "def handler(e, c): return 'new'\n"}))
        wait_updated(client, each)
        return good(invoke(client, each))

    assert together(2, call) == ["old", "new"]


def test_logging_to_json_has_levels_and_back_drops_them(client, function):
    each = function(ECHO, LoggingConfig={"LogFormat": "JSON", "LogGroup": "/own"})
    full = {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", "LogGroup": "/own"}
    assert client.get_function_configuration(FunctionName=each)["LoggingConfig"] == full
    client.update_function_configuration(FunctionName=each, LoggingConfig={"LogFormat": "Text"})
    wait_updated(client, each)
    assert client.get_function_configuration(FunctionName=each)["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/own"}


def test_lists_leave_out_the_state_and_qualify_the_arn(client, function):
    each = function(ECHO)
    [entry] = [f for page in client.get_paginator("list_functions").paginate() for f in page["Functions"] if f["FunctionName"] == each]
    assert entry["FunctionArn"] == arn(each) + ":$LATEST"
    assert not {"State", "StateReason", "LastUpdateStatus", "RuntimeVersionConfig"} & set(entry)


def test_lists_come_in_pages(gateway):
    client = gateway.client(account="111122223333")
    names = sorted(create(client, ECHO, wait=False) for _ in range(7))
    try:
        seen, marker, pages = [], None, 0
        while True:
            page = client.list_functions(MaxItems=3, **({"Marker": marker} if marker else {}))
            seen += [f["FunctionName"] for f in page["Functions"]]
            pages += 1
            marker = page.get("NextMarker")
            if not marker:
                break
            assert len(page["Functions"]) == 3
        assert (seen, pages) == (names, 3)
        for one in names:
            wait_active(client, one)
        client.publish_version(FunctionName=names[0])
        all_of_them = client.list_functions(FunctionVersion="ALL")["Functions"]
        assert [f["Version"] for f in all_of_them if f["FunctionName"] == names[0]] == ["$LATEST", "1"]
        with refused("ValidationException", 400):
            client.list_functions(FunctionVersion="invalid")
        with refused("InvalidParameterValueException", 400):
            client.list_functions(Marker="nonsense!")
    finally:
        for one in names:
            client.delete_function(FunctionName=one)


def test_a_deleted_function_is_gone_at_once_and_its_name_is_free(client, function):
    each = function("def handler(e, c): return 1\n")
    good(invoke(client, each))
    answer = client.delete_function(FunctionName=each)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] in (200, 204)
    with refused("ResourceNotFoundException", 404):
        client.invoke(FunctionName=each)
    create(client, "def handler(e, c): return 2\n", FunctionName=each)
    assert good(invoke(client, each)) == 2


def test_latest_and_aliases_cannot_be_deleted_as_functions(client, function):
    each = function(ECHO)
    with refused("InvalidParameterValueException", 400, "$LATEST version cannot be deleted without deleting the function."):
        client.delete_function(FunctionName=each, Qualifier="$LATEST")
    with refused("InvalidParameterValueException", 400, "Deletion of aliases is not currently supported."):
        client.delete_function(FunctionName=each, Qualifier="live")


def test_account_settings_count_code_and_functions(gateway):
    client = gateway.client(account="444455556666")
    before = client.get_account_settings()
    assert before["AccountLimit"] == {
        "TotalCodeSize": 80530636800,
        "CodeSizeUnzipped": 262144000,
        "CodeSizeZipped": 52428800,
        "ConcurrentExecutions": 1000,
        "UnreservedConcurrentExecutions": 1000,
    }
    assert before["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    each = create(client, ECHO)
    size = client.get_function_configuration(FunctionName=each)["CodeSize"]
    client.publish_version(FunctionName=each)
    client.put_function_concurrency(FunctionName=each, ReservedConcurrentExecutions=40)
    now = client.get_account_settings()
    assert now["AccountUsage"] == {"TotalCodeSize": 2 * size, "FunctionCount": 1}
    assert now["AccountLimit"]["UnreservedConcurrentExecutions"] == 960
    client.delete_function(FunctionName=each)
    now = client.get_account_settings()
    assert now["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    assert now["AccountLimit"]["UnreservedConcurrentExecutions"] == 1000
