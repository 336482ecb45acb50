"""Where code comes from and what may be in a package: requests, S3 through the upstream, hostile zips."""

import io
import json
import os
import pathlib
import struct
import zipfile

import boto3
import pytest

import upstream
from functions import ECHO, PYTHON, ROLE, create, good, invoke, name, refused, wait_active, wait_updated, zipped
from gateway import running

NOT_A_ZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."


@pytest.fixture(scope="module")
def with_upstream():
    objects = {
        ("code", "deep/ü key.zip"): zipped({"app.py": "def handler(e, c): return 'from S3'\n"}),
        ("code", "two.zip"): zipped({"app.py": "def handler(e, c): return 'updated'\n"}),
        ("code", "broken.zip"): b"not a zip",
    }
    quoted = {(bucket, key.replace("ü", "%C3%BC").replace(" ", "%20")): value for (bucket, key), value in objects.items()}
    with upstream.serving(quoted) as url, running(None, "--upstream", url) as gateway:
        yield gateway


def from_s3(client, bucket, key, **more):
    function = name()
    client.create_function(FunctionName=function, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code={"S3Bucket": bucket, "S3Key": key}, **more)
    wait_active(client, function)
    return function


def test_code_comes_from_s3_through_the_upstream(with_upstream):
    client = with_upstream.client()
    function = from_s3(client, "code", "deep/ü key.zip")
    assert good(invoke(client, function)) == "from S3"
    client.update_function_code(FunctionName=function, S3Bucket="code", S3Key="two.zip")
    wait_updated(client, function)
    assert good(invoke(client, function)) == "updated"


@pytest.mark.parametrize(
    "bucket, key, message",
    [
        ("none-such", "x", "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        ("code", "none", "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."),
        ("code", "broken.zip", NOT_A_ZIP),
    ],
)
def test_what_s3_lacks_is_told_in_its_words(with_upstream, bucket, key, message):
    with refused("InvalidParameterValueException", 400, message):
        from_s3(with_upstream.client(), bucket, key)


def test_other_services_are_passed_on_as_they_are(with_upstream):
    status, headers, body = with_upstream.request("POST", "/path/x?y=%20z", b"Action=Nothing", {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20251103/us-east-1/sqs/aws4_request, Signature=x", "X-Own": "1"})
    seen = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/path/x?y=%20z", "Action=Nothing")
    assert {k.lower(): v for k, v in seen["headers"].items()}["x-own"] == "1"


def test_an_upstream_that_is_not_there_is_a_bad_gateway():
    with running(None, "--upstream", "http://127.0.0.1:9") as gateway:
        status, _, body = gateway.request("GET", "/bucket/key")
        assert status == 502 and b"127.0.0.1:9" in body
        with refused("InvalidParameterValueException", 400, match="^Error occurred while GetObject. .*127.0.0.1:9"):
            from_s3(gateway.client(), "bucket", "key")


@pytest.mark.parametrize("service, call", [("dynamodb", "list_tables"), ("sqs", "list_queues"), ("s3", "list_buckets"), ("ec2", "describe_vpcs"), ("iam", "list_roles"), ("apigateway", "get_rest_apis")])
def test_without_an_upstream_other_services_are_501_naming_the_flag(gateway, service, call):
    with refused("NotImplementedException", 501, match=rf"service: {service}.*--upstream URL"):
        getattr(gateway.client(service), call)()


def test_unsigned_calls_of_nobody_are_501(gateway):
    status, _, body = gateway.request("GET", "/some-bucket/key")
    assert status == 501 and b"--upstream" in body


def test_code_from_s3_without_an_upstream_names_the_flag(client):
    with refused("InvalidParameterValueException", 400, match="^Error occurred while GetObject.*--upstream"):
        from_s3(client, "bucket", "key")


def test_operations_that_are_not_here_are_501_and_listed_so(gateway, client):
    operations = json.loads(gateway.request("GET", "/_warmpod/operations")[2])["lambda"]
    assert operations["Invoke"] and not operations["PublishLayerVersion"]
    assert set(operations) == set(boto3.session.Session()._session.get_service_model("lambda").operation_names)
    with refused("NotImplementedException", 501, match="PublishLayerVersion"):
        client.publish_layer_version(LayerName="l", Content={"ZipFile": b"x"})
    with refused("NotImplementedException", 501, match="CreateFunctionUrlConfig"):
        client.create_function_url_config(FunctionName="f", AuthType="NONE")


def truncated(package):
    return package[: len(package) // 2]


def with_flipped_data(package):
    at = 30 + len("app.py") + 5
    return package[:at] + bytes([package[at] ^ 0xFF]) + package[at + 1 :]


def renamed(old, new):
    """A zip whose entry has a name that the zipfile module would clean up."""
    assert len(old) == len(new)
    return zipped({"app.py": ECHO, old: "x"}).replace(old.encode(), new.encode())


HOSTILE = {
    "no zip": b"this is no zip",
    "nothing": b"\x00",
    "half a zip": truncated(zipped({"app.py": ECHO * 100})),
    "damaged data": with_flipped_data(zipped({"app.py": ECHO * 100})),
    "only an end record": b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 9, 9, 0xFFFF, 0, 0),
    "parent folder": renamed("xx/evil.py", "../evil.py"),
    "inner parent folder": renamed("a/xx/xx/evil", "a/../../evil"),
    "absolute path": renamed("xetc/cron.d/evil", "/etc/cron.d/evil"),
    "file through a link": zipped({"app.py": ECHO, "link": ("/tmp", 0o120777), "link/evil": "x"}),
    "file below a file": zipped({"app.py": ECHO, "app.py/below": "x"}),
}


@pytest.mark.parametrize("package", HOSTILE.values(), ids=HOSTILE.keys())
def test_broken_and_hostile_packages_are_refused(client, package):
    function = name()
    with refused("InvalidParameterValueException", 400, NOT_A_ZIP):
        create(client, package, wait=False, FunctionName=function)
    with refused("ResourceNotFoundException", 404):
        client.get_function(FunctionName=function)
    assert not os.path.exists("/etc/cron.d/evil") and not os.path.exists("/tmp/evil")


def test_a_broken_update_leaves_the_function_as_it_was(client, function):
    each = function("def handler(e, c): return 'as before'\n")
    before = client.get_function_configuration(FunctionName=each)
    with refused("InvalidParameterValueException", 400, NOT_A_ZIP):
        client.update_function_code(FunctionName=each, ZipFile=b"no zip")
    after = client.get_function_configuration(FunctionName=each)
    assert (after["RevisionId"], after["CodeSha256"]) == (before["RevisionId"], before["CodeSha256"])
    assert good(invoke(client, each)) == "as before"


def bomb(size):
    """A zip of a few hundred kilobytes that holds `size` zeros."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        with writer.open("zeros", "w") as file:
            block = bytes(1 << 20)
            for _ in range(size >> 20):
                file.write(block)
            file.write(bytes(size & ((1 << 20) - 1)))
    return archive.getvalue()


def stored_below(gateway):
    return sum(path.stat().st_size for path in pathlib.Path(gateway.data).rglob("*") if path.is_file() and not path.is_symlink())


def test_a_zip_bomb_is_refused_and_leaves_nothing(gateway, client):
    before = stored_below(gateway)
    package = bomb(262_144_001)
    assert len(package) < 1_000_000
    with refused("InvalidParameterValueException", 400, "Unzipped size must be smaller than 262144000 bytes"):
        create(client, package, wait=False)
    assert stored_below(gateway) < before + 20_000_000


def test_a_zip_bomb_that_lies_about_its_size_is_refused(client):
    package = bytearray(bomb(262_144_001))
    directory = package.rindex(b"PK\x01\x02")
    package[directory + 24 : directory + 28] = struct.pack("<I", 10)
    with refused("InvalidParameterValueException", 400):
        create(client, bytes(package), wait=False)


def test_a_zip_of_more_than_50_mib_is_refused(client):
    with refused("RequestEntityTooLargeException", 413, "Zipped size must be smaller than 52428800 bytes"):
        create(client, os.urandom(52_428_801), wait=False)


def test_a_request_of_more_than_its_limit_is_refused_before_it_is_read(gateway):
    import http.client

    connection = http.client.HTTPConnection(*gateway.address(), timeout=20)
    connection.putrequest("POST", "/2015-03-31/functions")
    connection.putheader("Content-Length", str(70_167_212))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"Request must be smaller than 70167211 bytes for the CreateFunction operation" in answer.read()
    connection.close()


def test_links_that_lead_out_of_the_package_show_nothing_of_the_machine(client, function):
    secret = pathlib.Path("/root/.warmpod-e2e-secret")
    try:
        secret.write_text("secret")
    except OSError:
        secret = pathlib.Path("/etc/hostname")
    try:
        each = function({"app.py": "import os\ndef handler(e, c):\n    try: return open('link').read()\n    except OSError as error: return type(error).__name__\n", "link": (str(secret), 0o120777)})
        assert good(invoke(client, each)) in ("FileNotFoundError", "PermissionError")
    finally:
        if secret.name == ".warmpod-e2e-secret":
            secret.unlink()


def test_code_comes_either_as_a_zip_or_from_s3(client):
    message = "Please provide a source for function code, either ZipFile or S3Bucket and S3Key."
    for code in ({}, {"S3Bucket": "only-a-bucket"}, {"ZipFile": zipped({"app.py": ECHO}), "S3Bucket": "b-and", "S3Key": "k"}):
        with refused("InvalidParameterValueException", 400, message):
            client.create_function(FunctionName=name(), Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code=code)


def test_the_same_code_is_stored_once_and_kept_while_one_function_has_it(client, function):
    package = {"app.py": ECHO, "random": os.urandom(2000)}
    one, two = function(package), function(package)
    hashes = [client.get_function_configuration(FunctionName=f)["CodeSha256"] for f in (one, two)]
    assert hashes[0] == hashes[1]
    client.delete_function(FunctionName=one)
    assert good(invoke(client, two, 5)) == 5


def test_a_package_of_many_files_works(client, function):
    files = {f"data/{n // 100}/{n}.txt": str(n) for n in range(3000)} | {"app.py": "import os\ndef handler(e, c): return sum(len(f) for _, _, f in os.walk('data'))\n"}
    assert good(invoke(client, function(files))) == 3000
