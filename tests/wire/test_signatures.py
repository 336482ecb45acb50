"""Signatures of requests that we send, against botocore's signers."""

import base64
import datetime
import unittest.mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

MOMENT = datetime.datetime(2025, 11, 3, 9, 12, 33, tzinfo=datetime.timezone.utc)
REQUESTS = [
    ("GET", "http://localhost:4567/bucket/key.zip", {}, b""),
    ("GET", "https://s3.eu-west-1.amazonaws.com/bucket/a/b%20c%2Bd/e.zip?versionId=a%2Fb&x-id=GetObject", {}, b""),
    ("GET", "https://s3.amazonaws.com:443/bucket//double/../dots/./", {}, b""),
    ("GET", "https://example.com/", {}, b""),
    ("GET", "https://example.com/?b=2&a=1&b=1&list&empty=", {}, b""),
    ("PUT", "http://127.0.0.1:9000/b/%C3%BC.txt", {"Content-Type": "text/plain", "X-Amz-Meta-A": "  two   words "}, b"hello"),
    ("POST", "https://sqs.us-east-1.amazonaws.com/", {"X-Amz-Target": "AmazonSQS.SendMessage"}, b'{"QueueUrl": "q"}'),
]


@pytest.mark.parametrize("token", [None, "token+/="])
@pytest.mark.parametrize("service", ["s3", "sqs"])
@pytest.mark.parametrize("method, uri, headers, body", REQUESTS)
def test_signature_is_botocores(wire, method, uri, headers, body, service, token):
    signer = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    credentials = botocore.credentials.Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token)
    signed = botocore.awsrequest.AWSRequest(method=method, url=uri, headers=headers, data=body)
    with unittest.mock.patch("botocore.auth.get_current_datetime", return_value=MOMENT):
        signer(credentials, service, "eu-west-1").add_auth(signed)

    ours = wire.ask(
        sign={
            "access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG", "session_token": token,
            "region": "eu-west-1", "service": service, "method": method, "uri": uri,
            "headers": list(headers.items()), "body": base64.b64encode(body).decode(),
            "millis": int(MOMENT.timestamp() * 1000),
        }
    )
    ours = dict(ours["headers"])
    host = ours.pop("host")
    assert host == botocore.auth._host_from_url(uri)
    assert ours == {name.lower(): value for name, value in signed.headers.items()}
