"""What a function finds around itself: variables, files, user, limits, a warm environment, its runtime."""

import json
import re
import sys

import pytest

from functions import ECHO, PYTHON, good, invoke, name, together, wait_updated

VARIABLES = "import os\ndef handler(e, c): return dict(os.environ)\n"


def test_variables_are_awss_full_set(client, function):
    each = function(VARIABLES, MemorySize=256, Environment={"Variables": {"OWN": "$HOME and `x`", "TZ": "Asia/Tokyo"}})
    seen = good(invoke(client, each))
    expected = {
        "_HANDLER": "app.handler",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}",
        "AWS_LAMBDA_FUNCTION_NAME": each,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{each}",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LANG": "en_US.UTF-8",
        "LC_CTYPE": "C.UTF-8",
        "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "PYTHONPATH": "/var/runtime",
        "OWN": "$HOME and `x`",
        "TZ": "Asia/Tokyo",
    }
    assert {key: seen.get(key) for key in expected} == expected
    assert re.fullmatch(r"127\.0\.0\.1:\d+|169\.254\.100\.1:9001", seen["AWS_LAMBDA_RUNTIME_API"])
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", seen["AWS_LAMBDA_LOG_STREAM_NAME"])
    assert seen["AWS_ACCESS_KEY_ID"] and seen["AWS_SECRET_ACCESS_KEY"] and seen["AWS_SESSION_TOKEN"]
    assert re.match(r"^http://", seen["AWS_ENDPOINT_URL"])
    assert "HOME" not in seen


def test_nothing_of_the_machines_environment_leaks_in(client, function):
    seen = good(invoke(client, function(VARIABLES)))
    allowed = re.compile(r"^(_|AWS_|LAMBDA_|LANG$|LC_CTYPE$|LD_LIBRARY_PATH$|PATH$|PYTHONPATH$|PWD$|SHLVL$|TZ$|LOCALSTACK_HOSTNAME$|EDGE_PORT$)")
    assert [key for key in seen if not allowed.match(key)] == []
    assert not any("WARMPOD" in key for key in seen)


def test_variables_are_there_while_importing(client, function):
    each = function("import os\nseen = os.environ['OWN'], os.environ['AWS_LAMBDA_FUNCTION_NAME'], os.environ['TZ']\nimport time\nzone = time.strftime('%Z')\ndef handler(e, c): return [*seen, zone]\n", Environment={"Variables": {"OWN": "1", "TZ": "Asia/Tokyo"}})
    assert good(invoke(client, each)) == ["1", each, "Asia/Tokyo", "JST"]


def test_each_environment_has_credentials_and_a_stream_of_its_own(client, function):
    each = function("import os, time\ndef handler(e, c):\n    time.sleep(4)\n    return [os.environ['AWS_SESSION_TOKEN'], c.log_stream_name]\n")
    one, two = (good(answer) for answer in together(2, lambda _: invoke(client, each)))
    assert one[0] != two[0] and one[1] != two[1]


def test_a_function_calls_the_gateway_with_its_own_sdk(client, function):
    boto3 = pytest.importorskip("boto3")
    callee = function(ECHO)
    code = """
import json, os, urllib.request
def handler(event, context):
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + "/2015-03-31/functions/" + event + "/invocations", data=b'"ping"', method="POST")
    return json.load(urllib.request.urlopen(request, timeout=5))
"""
    assert boto3
    assert good(invoke(client, function(code), callee)) == "ping"


def test_function_runs_as_awss_user(client, function):
    each = function("import os, pwd\ndef handler(e, c): return [os.getuid(), os.getgid(), os.geteuid(), pwd.getpwuid(os.getuid()).pw_name, os.getcwd()]\n")
    assert good(invoke(client, each)) == [993, 990, 993, "sbx_user1051", "/var/task"]


def test_code_is_read_only(client, function):
    code = """
import os
def refused(call):
    try: call()
    except OSError as error: return error.strerror
    return "allowed"
def handler(e, c):
    return [refused(lambda: open("/var/task/new", "w")), refused(lambda: open("/var/task/app.py", "a")), refused(lambda: os.unlink("/var/task/app.py")),
            refused(lambda: os.chmod("/var/task/app.py", 0o777)), refused(lambda: open("/var/runtime/x", "w")), refused(lambda: open("/usr/bin/x", "w")), refused(lambda: open("/etc/x", "w"))]
"""
    assert "allowed" not in good(invoke(client, function(code)))


def test_modes_and_links_of_the_package_are_kept(client, function):
    files = {
        "app.py": "import os, stat, subprocess\ndef handler(e, c): return [subprocess.check_output(['/var/task/bin/tool'], text=True), os.readlink('lib/link'), open('lib/link').read(), oct(os.stat('private').st_mode & 0o777)]\n",
        "bin/tool": ("#!/bin/sh\necho tool\n", 0o755),
        "lib/real": "content",
        "lib/link": ("real", 0o120777),
        "private": ("x", 0o600),
    }
    assert good(invoke(client, function(files))) == ["tool\n", "real", "content", "0o644"]


TMP = """
import errno, os
def handler(event, context):
    if event == "list": return sorted(os.listdir("/tmp"))
    if event == "write":
        open("/tmp/mine", "w").write("x")
        return "written"
    written = 0
    try:
        with open("/tmp/big", "wb", buffering=0) as file:
            for _ in range(event):
                written += file.write(b"x" * (1 << 20))
        return [written >> 20, None]
    except OSError as error:
        return [written >> 20, errno.errorcode[error.errno]]
    finally:
        if os.path.exists("/tmp/big"): os.unlink("/tmp/big")
"""


def test_tmp_is_writable_private_and_kept_while_warm(client, function):
    one, two = function(TMP), function(TMP)
    assert good(invoke(client, one, "list")) == []
    assert good(invoke(client, one, "write")) == "written"
    assert good(invoke(client, one, "list")) == ["mine"]
    assert good(invoke(client, two, "list")) == []


def test_tmp_has_the_size_that_was_asked_for(client, function):
    each = function(TMP, EphemeralStorage={"Size": 600}, MemorySize=2048, Timeout=60)
    written, error = good(invoke(client, each, 700))
    assert error == "ENOSPC"
    assert 560 <= written <= 600
    assert good(invoke(client, each, 10)) == [10, None]


def test_limits_are_awss(client, function):
    each = function("import resource as r\ndef handler(e, c): return [r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_STACK)[0]]\n")
    assert good(invoke(client, each)) == [[1024, 1024], 8_388_608]


def test_warm_environment_is_reused_and_init_runs_once(client, function):
    each = function("import uuid\nborn, n = str(uuid.uuid4()), 0\ndef handler(e, c):\n    global n\n    n += 1\n    return [born, n]\n")
    first = good(invoke(client, each))
    for count in range(2, 12):
        assert good(invoke(client, each)) == [first[0], count]


def test_environments_run_one_invocation_at_a_time(client, function):
    code = "import time, uuid\nborn = str(uuid.uuid4())\nbusy = 0\ndef handler(e, c):\n    global busy\n    busy += 1\n    seen = busy\n    time.sleep(0.05)\n    busy -= 1\n    return [born, seen]\n"
    each = function(code)
    answers = together(8, lambda _: [good(invoke(client, each)) for _ in range(5)])
    assert {seen for answer in answers for _, seen in answer} == {1}


def test_versions_have_environments_of_their_own(client, function):
    each = function("import uuid\nborn = str(uuid.uuid4())\ndef handler(e, c): return born\n")
    client.publish_version(FunctionName=each)
    assert good(invoke(client, each)) != good(invoke(client, each, Qualifier="1"))


def test_the_runtime_that_was_asked_for_runs(client, function):
    code = "import sys\ndef handler(e, c): return list(sys.version_info[:2])\n"
    assert good(invoke(client, function(code))) == list(sys.version_info[:2])


def test_nearest_python_runs_where_one_is_missing_and_the_log_says_so(gateway, client, function):
    each = function("import sys\ndef handler(e, c): return sys.version_info[1]\n", Runtime="python3.14")
    minor = good(invoke(client, each))
    if minor == 14:
        pytest.skip("this machine has Python 3.14 and its runtime interface client")
    said = [line for line in gateway.log if f"functions of python3.14 run on python3.{minor}: no python3.14 is installed" in line]
    assert len(said) == 1, "it is said, and once"


def test_threads_and_processes_work(client, function):
    code = """
import concurrent.futures, subprocess
def handler(e, c):
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        total = sum(threads.map(int, range(100)))
    return [total, subprocess.check_output(["sh", "-c", "echo $((6*7))"], text=True).strip()]
"""
    assert good(invoke(client, function(code, MemorySize=256))) == [4950, "42"]


def test_names_of_localhost_resolve(client, function):
    code = "import socket\ndef handler(e, c): return [socket.gethostbyname(n) for n in ('localhost', 'sandbox.localdomain', 'localhost.localstack.cloud')]\n"
    assert good(invoke(client, function(code))) == ["127.0.0.1"] * 3


def test_the_aws_sdk_is_there_if_the_runtime_brings_it(client, function):
    """AWS's Python runtimes bring boto3; where this one does not, the import error names it."""
    answer = invoke(client, function("def handler(e, c):\n    import boto3\n    return boto3.__version__\n", MemorySize=256))
    if answer.error:
        assert answer.value["errorType"] in ("ModuleNotFoundError", "Runtime.ImportModuleError"), answer.value
        pytest.skip("boto3 is not in dist/runtimes")
    assert re.match(r"\d+\.\d+", answer.value)


def test_wrapper_scripts_are_run(client, function):
    wrapper = ("#!/bin/sh\nexport WRAPPED=yes\nexec \"$@\"\n", 0o755)
    files = {"app.py": "import os\ndef handler(e, c): return os.environ.get('WRAPPED')\n", "wrap": wrapper}
    each = function(files, Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"}})
    assert good(invoke(client, each)) == "yes"


def test_a_missing_wrapper_script_is_exit_127(client, function):
    each = function(ECHO, Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/none"}})
    answer = invoke(client, each)
    assert json.loads(answer.raw)["errorMessage"].endswith("Error: Runtime exited with error: exit status 127"), answer.raw


def test_interpreter_variables_of_the_function_are_honoured(client, function):
    each = function("import sys\ndef handler(e, c): return [sys.flags.dont_write_bytecode, sys.flags.optimize]\n", Environment={"Variables": {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONOPTIMIZE": "1"}})
    assert good(invoke(client, each)) == [1, 1]


def test_an_update_of_memory_reaches_the_function(client, function):
    each = function("import os\ndef handler(e, c): return [c.memory_limit_in_mb, os.environ['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']]\n")
    assert good(invoke(client, each)) == ["128", "128"]
    client.update_function_configuration(FunctionName=each, MemorySize=320)
    wait_updated(client, each)
    answer = invoke(client, each)
    assert good(answer) == ["320", "320"] and answer.report()["Memory Size"] == "320 MB"


def test_names_of_64_characters_work(client, function):
    long = name("n" * 51)
    assert len(long) == 64
    assert good(invoke(client, function("def handler(e, c): return c.function_name\n", FunctionName=long))) == long
