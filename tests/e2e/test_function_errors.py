"""What the caller reads when a function fails: each case of AWS's, with its log lines and what becomes of the environment."""

import json
import re

import pytest

from functions import good, invoke


def failed(answer, document=None):
    assert (answer.status, answer.error, answer.version) == (200, "Unhandled", "$LATEST"), answer.raw
    if document is not None:
        assert answer.raw.decode() == document
    return answer


def crash(answer, kind, message):
    """The platform's own document and the two lines of the log."""
    document = '{"errorType":"%s","errorMessage":"RequestId: %s Error: %s"}' % (kind, answer.request_id, message)
    failed(answer, document)
    assert f"RequestId: {answer.request_id} Error: {message}\n{kind}\n" in answer.log
    return answer


def test_timeout(client, function):
    each = function("import time\ndef handler(e, c):\n    if e: time.sleep(60)\n    return 'quick'\n", Timeout=1)
    assert good(invoke(client, each)) == "quick"
    answer = invoke(client, each, 1)
    text = "Task timed out after 1.00 seconds"
    failed(answer, '{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: %s Error: %s"}' % (answer.request_id, text))
    assert re.search(rf"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z {answer.request_id} {text}\n\nEND ", answer.log, re.M), answer.log
    report = answer.report()
    assert (report["Duration"], report["Billed Duration"], report["Status"]) == ("1000.00 ms", "1000 ms", "timeout")


def test_after_a_timeout_files_stay_and_globals_do_not(client, function):
    code = """
import os, time, uuid
born = str(uuid.uuid4())
def handler(event, context):
    kept = open("/tmp/kept").read() if os.path.exists("/tmp/kept") else None
    if event == "hang":
        open("/tmp/kept", "w").write(born)
        time.sleep(60)
    return {"born": born, "kept": kept, "stream": context.log_stream_name}
"""
    each = function(code, Timeout=3)
    before = good(invoke(client, each))
    failed(invoke(client, each, "hang"))
    after = invoke(client, each)
    assert good(after)["kept"] == before["born"]
    assert good(after)["born"] != before["born"]
    assert good(after)["stream"] == before["stream"]
    assert "Init Duration" not in after.log


@pytest.mark.parametrize(
    "code, message",
    [
        ("import os\ndef handler(e, c): os._exit(0)\n", "Runtime exited without providing a reason"),
        ("import os\ndef handler(e, c): os._exit(1)\n", "Runtime exited with error: exit status 1"),
        ("import os\ndef handler(e, c): os._exit(127)\n", "Runtime exited with error: exit status 127"),
        ("import os, signal\ndef handler(e, c): os.kill(os.getpid(), signal.SIGKILL)\n", "Runtime exited with error: signal: killed"),
        ("import os, signal\ndef handler(e, c): os.kill(os.getpid(), signal.SIGSEGV)\n", "Runtime exited with error: signal: segmentation fault"),
        ("import os, signal\ndef handler(e, c): os.kill(os.getpid(), signal.SIGABRT)\n", "Runtime exited with error: signal: aborted"),
        ("import os, signal\ndef handler(e, c): os.kill(os.getpid(), signal.SIGTERM)\n", "Runtime exited with error: signal: terminated"),
    ],
    ids=["exit 0", "exit 1", "exit 127", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"],
)
def test_runtime_that_leaves_in_the_handler(client, function, code, message):
    answer = crash(invoke(client, function(code)), "Runtime.ExitError", message)
    assert answer.report()["Status"] == "error"
    assert answer.report()["Error Type"] == "Runtime.ExitError"


def test_the_environment_serves_after_an_exit(client, function):
    each = function("import os\ndef handler(e, c):\n    if e: os._exit(3)\n    return c.log_stream_name\n")
    stream = good(invoke(client, each))
    crash(invoke(client, each, 1), "Runtime.ExitError", "Runtime exited with error: exit status 3")
    assert good(invoke(client, each)) == stream


def test_exit_while_importing_is_told_by_the_repeated_init(client, function):
    answer = crash(invoke(client, function("import os\nos._exit(9)\n")), "Runtime.ExitError", "Runtime exited with error: exit status 9")
    lines = re.findall(r"^INIT_REPORT Init Duration: \d+\.\d\d ms\tPhase: (\w+)\tStatus: error\tError Type: (\S+)", answer.log, re.M)
    assert lines == [("init", "Runtime.ExitError"), ("invoke", "Runtime.ExitError")]


def test_out_of_memory(client, function):
    each = function("def handler(e, c):\n    if not e: return 1\n    x = []\n    while True: x.append(bytearray(8 << 20))\n", MemorySize=128, Timeout=30)
    assert good(invoke(client, each)) == 1
    answer = crash(invoke(client, each, 1), "Runtime.OutOfMemory", "Runtime exited with error: signal: killed")
    report = answer.report()
    assert (report["Max Memory Used"], report["Memory Size"]) == ("128 MB", "128 MB")
    assert (report["Status"], report["Error Type"]) == ("error", "Runtime.OutOfMemory")
    assert good(invoke(client, each)) == 1


def test_memory_size_is_the_functions_own(client, function):
    each = function("def handler(e, c):\n    x = bytearray(e << 20)\n    x[::4096] = b'x' * len(x[::4096])\n    return len(x) >> 20\n", MemorySize=512, Timeout=30)
    assert good(invoke(client, each, 380)) == 380
    crash(invoke(client, each, 560), "Runtime.OutOfMemory", "Runtime exited with error: signal: killed")


def test_handler_exception_is_the_clients_document(client, function):
    answer = failed(invoke(client, function("def handler(event, context):\n    raise ValueError('no ' + event)\n"), "way"))
    assert answer.value == {
        "errorMessage": "no way",
        "errorType": "ValueError",
        "requestId": answer.request_id,
        "stackTrace": ['  File "/var/task/app.py", line 2, in handler\n    raise ValueError(\'no \' + event)\n'],
    }
    assert "[ERROR] ValueError: no way" in answer.log
    assert "Status: error" not in answer.log and "INIT_REPORT" not in answer.log


def test_environment_stays_warm_after_a_handler_exception(client, function):
    each = function("n = 0\ndef handler(e, c):\n    global n\n    n += 1\n    if e: raise Exception('x')\n    return n\n")
    assert good(invoke(client, each)) == 1
    failed(invoke(client, each, 1))
    assert good(invoke(client, each)) == 3


def test_exception_while_importing(client, function):
    answer = failed(invoke(client, function("raise RuntimeError('Runtime startup fails')\n")))
    value = answer.value
    assert (value["errorMessage"], value["errorType"], value["requestId"]) == ("Runtime startup fails", "RuntimeError", "")
    assert any("/var/task/app.py" in line for line in value["stackTrace"])
    assert [phase for phase in re.findall(r"INIT_REPORT .*Phase: (\w+)", answer.log)] == ["init", "invoke"]


@pytest.mark.parametrize(
    "files, handler, kind, message",
    [
        ({"app.py": "import nothing_like_it\n"}, "app.handler", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'nothing_like_it'"),
        ({"other.py": ""}, "app.handler", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'app'"),
        ({"app.py": "x = 1\n"}, "app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ({"app.py": "x = 1\n"}, "app", "Runtime.MalformedHandlerName", "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
        ({"app.py": "x = 1\n"}, "sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
    ],
    ids=["import", "module missing", "handler missing", "bad handler name", "built-in module"],
)
def test_init_errors_of_python(client, function, files, handler, kind, message):
    value = failed(invoke(client, function(files, Handler=handler))).value
    assert value["errorType"] == kind
    assert value["errorMessage"].startswith(message), value


def test_syntax_error(client, function):
    answer = failed(invoke(client, function("def handler(event, context)\n    pass\n")))
    assert answer.value["errorType"] == "Runtime.UserCodeSyntaxError"
    assert answer.value["errorMessage"].startswith("Syntax error in module 'app': ")
    assert any('File "/var/task/app.py" Line 1' in line for line in answer.value["stackTrace"]), answer.value


def test_init_is_tried_again_by_each_invocation(client, function):
    each = function("raise Exception('always')\n")
    for _ in range(3):
        assert failed(invoke(client, each)).value["errorMessage"] == "always"


def test_a_function_whose_second_init_works_answers(client, function):
    code = """
import os
if not os.path.exists("/tmp/tried"):
    open("/tmp/tried", "w").close()
    raise Exception("first time")
def handler(e, c): return "worked"
"""
    answer = invoke(client, function(code))
    assert good(answer) == "worked"
    assert [phase for phase in re.findall(r"INIT_REPORT .*Phase: (\w+)\tStatus: error", answer.log)] == ["init"]


def test_result_that_is_not_json(client, function):
    answer = failed(invoke(client, function("def handler(e, c): return {1, 2}\n")))
    assert answer.value["errorType"] == "Runtime.MarshalError"
    assert answer.value["errorMessage"] == "Unable to marshal response: Object of type set is not JSON serializable"


def test_client_context_that_is_not_json(client, function):
    import base64

    answer = failed(invoke(client, function("def handler(e, c): return 1\n"), ClientContext=base64.b64encode(b"nope").decode()))
    assert answer.value["errorType"] == "Runtime.LambdaContextUnmarshalError"
    assert answer.value["errorMessage"].startswith("Unable to parse Client Context JSON: ")


def test_sys_exit_in_the_handler(client, function):
    answer = failed(invoke(client, function("import sys\ndef handler(e, c): sys.exit(4)\n")))
    assert answer.value["errorType"] == "Runtime.ExitError"


def test_deep_recursion_is_the_functions_own_error(client, function):
    answer = failed(invoke(client, function("def handler(e, c): return handler(e, c)\n")))
    assert answer.value["errorType"] == "RecursionError"


def test_children_of_a_function_that_timed_out_are_gone(client, function):
    code = """
import glob, subprocess, time
def sleepers():
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try: found.append(open(path).read())
        except OSError: pass
    return sum("87654" in line for line in found)
def handler(e, c):
    if e:
        subprocess.Popen(["sleep", "87654"], start_new_session=True)
        time.sleep(60)
    return sleepers()
"""
    each = function(code, Timeout=3)
    assert good(invoke(client, each)) == 0
    failed(invoke(client, each, 1))
    assert good(invoke(client, each)) == 0


@pytest.mark.long
def test_init_longer_than_ten_seconds_is_repeated_in_the_invocation(client, function):
    code = """
import os, time
if not os.path.exists("/tmp/tried"):
    open("/tmp/tried", "w").close()
    time.sleep(60)
def handler(e, c): return "late"
"""
    answer = invoke(client, function(code, Timeout=15))
    assert good(answer) == "late"
    assert re.search(r"^INIT_REPORT Init Duration: (9|10)\d{3}\.\d\d ms\tPhase: init\tStatus: timeout\s*$", answer.log, re.M), answer.log


def test_timeout_counts_a_repeated_init(client, function):
    code = """
import os, time
if os.path.exists("/tmp/tried"):
    time.sleep(60)
open("/tmp/tried", "w").close()
raise Exception("first")
"""
    answer = failed(invoke(client, function(code, Timeout=1)))
    assert answer.value["errorType"] == "Sandbox.Timedout"
    assert re.search(r"INIT_REPORT .*Phase: invoke\tStatus: timeout", answer.log), answer.log


def test_error_documents_are_valid_json_of_awss_key_order(client, function):
    answer = failed(invoke(client, function("import os\ndef handler(e, c): os._exit(1)\n")))
    assert list(json.loads(answer.raw)) == ["errorType", "errorMessage"]
