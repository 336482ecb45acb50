"""The AWS CLI as people type it: README's own session, and a longer one; warmpod's own commands."""

import os
import pathlib
import re
import subprocess
import sys

from functions import PYTHON, name
from gateway import DIST, REPOSITORY

BIN = pathlib.Path(sys.executable).parent


def shell(script, folder, url):
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(folder),
        "AWS_PAGER": "",
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def readme_session():
    """The first shell block below README's heading about the AWS CLI."""
    text = (REPOSITORY / "README.md").read_text()
    section = text.split("\n## With the AWS CLI\n", 1)[1].split("\n## ", 1)[0]
    return re.search(r"^```sh\n(.*?)^```$", section, re.M | re.S).group(1)


def test_the_session_in_the_readme_works_as_typed(gateway, client, tmp_path):
    session = readme_session()
    assert "http://127.0.0.1:4566" in session
    try:
        said = shell(session.replace("http://127.0.0.1:4566", gateway.url), tmp_path, gateway.url)
    finally:
        client.delete_function(FunctionName="hello")
    assert "Hello, world" in said
    assert '"StatusCode": 200' in said and '"LogResult"' in said


def test_a_session_with_create_wait_invoke_logs_and_delete(gateway, tmp_path):
    function = name("cli")
    said = shell(
        f"""
        printf 'def handler(event, context):\\n    print("seen", event)\\n    return event\\n' > app.py
        python3 -m zipfile -c app.zip app.py
        aws lambda create-function --function-name {function} --runtime {PYTHON} --handler app.handler --role arn:aws:iam::000000000000:role/any --zip-file fileb://app.zip --query State --output text
        aws lambda wait function-active-v2 --function-name {function}
        echo '{{"a": 1}}' > event.json
        aws lambda invoke --function-name {function} --payload fileb://event.json --log-type Tail --query LogResult --output text out.json | base64 -d
        cat out.json; echo
        aws lambda list-functions --query 'Functions[].FunctionName' --output text | tr '\\t' '\\n' | grep -x {function}
        aws lambda delete-function --function-name {function}
        aws lambda get-function --function-name {function} 2>&1 || true
        """,
        tmp_path,
        gateway.url,
    )
    lines = said.splitlines()
    assert lines[0] == "Pending"
    assert "seen {'a': 1}" in lines and '{"a": 1}' in lines and function in lines
    assert any(line.startswith("REPORT RequestId: ") for line in lines)
    assert "(ResourceNotFoundException)" in said


def test_help_version_and_wrong_flags():
    run = lambda *arguments: subprocess.run([DIST / "warmpod", *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert run("--version").stdout.startswith("warmpod ")
    assert "--upstream <URL>" in run("serve", "--help").stdout
    wrong = run("serve", "--lisen", "x")
    assert wrong.returncode == 2 and "--listen" in wrong.stderr
    malformed = run("serve", "--listen", "nowhere")
    assert malformed.returncode == 2 and "nowhere" in malformed.stderr


def test_the_reference_page_is_the_programs_own():
    said = subprocess.run([DIST / "warmpod", "reference"], capture_output=True, text=True, timeout=20, check=True).stdout
    assert said == (REPOSITORY / "docs/configuration.md").read_text(), "write it anew: make docs"


def test_the_demo_runs():
    done = subprocess.run([REPOSITORY / "tests/demo/demo"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("done")
    assert "Hello, world!" in done.stdout and "Init Duration" in done.stdout


def test_the_kubernetes_engine_is_refused_by_name(tmp_path):
    done = subprocess.run([DIST / "warmpod", "serve", "--listen", "127.0.0.1:0", "--data-dir", tmp_path, "--engine", "kubernetes"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1 and "use --engine local" in done.stderr
