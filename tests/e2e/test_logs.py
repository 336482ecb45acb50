"""The lines of a function's log, as AWS prints them, seen by the invocation's tail."""

import json
import re

import pytest

from functions import ECHO, PYTHON, good, invoke, until


def test_lines_of_a_cold_and_of_a_warm_start(client, function):
    each = function("import time\ndef handler(event, context):\n    print('hello')\n    time.sleep(0.02)\n")
    cold = invoke(client, each)
    expected = "".join(
        [
            rf"INIT_START Runtime Version: python:{PYTHON.removeprefix('python')}\.v\d+\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:[0-9a-f]{{64}}\n",
            rf"START RequestId: {cold.request_id} Version: \$LATEST\n",
            r"hello\n",
            rf"END RequestId: {cold.request_id}\n",
            rf"REPORT RequestId: {cold.request_id}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\tMax Memory Used: \d+ MB\tInit Duration: \d+\.\d\d ms\t\n",
        ]
    )
    assert re.fullmatch(expected, cold.log), cold.log
    warm = invoke(client, each)
    expected = "".join(
        [
            rf"START RequestId: {warm.request_id} Version: \$LATEST\n",
            r"hello\n",
            rf"END RequestId: {warm.request_id}\n",
            rf"REPORT RequestId: {warm.request_id}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\tMax Memory Used: \d+ MB\t\n",
        ]
    )
    assert re.fullmatch(expected, warm.log), warm.log


def number(text):
    return float(text.split()[0])


def test_report_adds_up(client, function):
    each = function("import time\ntime.sleep(0.2)\ndef handler(event, context): time.sleep(0.1)\n", MemorySize=192)
    cold = invoke(client, each).report()
    assert 200 <= number(cold["Init Duration"]) < 3000
    assert 100 <= number(cold["Duration"]) < 3000
    total = number(cold["Duration"]) + number(cold["Init Duration"])
    assert total <= number(cold["Billed Duration"]) <= total + 1.02
    assert cold["Memory Size"] == "192 MB"
    assert 5 < number(cold["Max Memory Used"]) <= 192
    warm = invoke(client, each).report()
    assert number(warm["Duration"]) <= number(warm["Billed Duration"]) <= number(warm["Duration"]) + 1.02


def test_max_memory_used_follows_the_function(client, function):
    each = function("kept = []\ndef handler(e, c):\n    kept.append(bytearray(b'x' * (e << 20)))\n", MemorySize=512)
    low = number(invoke(client, each, 1).report()["Max Memory Used"])
    high = number(invoke(client, each, 150).report()["Max Memory Used"])
    assert high >= low + 140
    assert high <= 512


def test_a_published_version_is_named_in_start(client, function):
    each = function(ECHO)
    client.publish_version(FunctionName=each)
    answer = invoke(client, each, Qualifier="1")
    assert f"START RequestId: {answer.request_id} Version: 1\n" in answer.log


def test_logging_lines_have_awss_form(client, function):
    code = """
import logging, sys
log = logging.getLogger()
log.setLevel("INFO")
def handler(event, context):
    log.info("said")
    log.warning("warned")
    log.debug("never")
    print("to stderr", file=sys.stderr)
"""
    answer = invoke(client, function(code))
    good(answer)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.search(rf"^\[INFO\]\t{time}\t{answer.request_id}\tsaid$", answer.log, re.M), answer.log
    assert re.search(rf"^\[WARNING\]\t{time}\t{answer.request_id}\twarned$", answer.log, re.M)
    assert "never" not in answer.log
    assert "to stderr\n" in answer.log


def test_output_of_the_init_is_in_the_first_tail(client, function):
    answer = invoke(client, function("print('from init')\ndef handler(e, c): print('from handler')\n"))
    order = [answer.log.index(text) for text in ("INIT_START", "from init", "START RequestId", "from handler", "END RequestId")]
    assert order == sorted(order)


def test_tail_is_the_last_4096_bytes(client, function):
    answer = invoke(client, function("def handler(e, c):\n    for n in range(1000): print(f'line {n:04}')\n"))
    assert len(answer.log.encode()) == 4096
    assert "line 0999\nEND " in answer.log and "line 0500\n" not in answer.log
    assert answer.log.endswith("\t\n")


def test_output_without_a_newline_is_kept(client, function):
    answer = invoke(client, function("import sys\ndef handler(e, c): sys.stdout.write('no newline')\n"))
    assert "no newline" in answer.log
    assert re.search(r"no newline\s*END RequestId", answer.log), answer.log


def test_output_of_child_processes_is_logged(client, function):
    answer = invoke(client, function("import subprocess\ndef handler(e, c): subprocess.run(['sh', '-c', 'echo out; echo err >&2'])\n"))
    assert "out\n" in answer.log and "err\n" in answer.log


def test_bytes_that_are_not_utf8_do_not_break_the_log(client, function):
    answer = invoke(client, function("import sys\ndef handler(e, c): sys.stdout.buffer.write(b'\\xff\\xfe\\x00 bytes\\n'); sys.stdout.flush()\n"))
    good(answer)
    assert "bytes\n" in answer.log


def test_one_invocations_log_is_not_in_anothers_tail(client, function):
    each = function("def handler(e, c): print('mark', e)\n")
    invoke(client, each, "first")
    second = invoke(client, each, "second")
    assert "mark second" in second.log and "first" not in second.log


def test_lines_reach_the_gateways_log(gateway, client, function):
    mark = len(gateway.log)
    each = function("def handler(e, c): print('a line for the gateway')\n")
    good(invoke(client, each, tail=False))
    until(lambda: "a line for the gateway" in gateway.said(mark), "the line in the gateway's log")


@pytest.mark.xfail(strict=True, reason="SystemLogLevel does not reach the agent: it writes what INFO lets through")
def test_json_format_at_debug_writes_all_platform_events(client, function):
    each = function(ECHO, LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "DEBUG"})
    answer = invoke(client, each)
    events = [json.loads(line) for line in answer.log.splitlines()]
    types = [event["type"] for event in events]
    assert types[0] == "platform.initStart" and types[-1] == "platform.report", types
    for wanted in ("platform.initReport", "platform.start", "platform.runtimeDone"):
        assert wanted in types
    start = next(event for event in events if event["type"] == "platform.start")
    assert start["record"]["requestId"] == answer.request_id
    assert start["record"]["version"] == "$LATEST"
    report = events[-1]["record"]
    assert (report["requestId"], report["status"]) == (answer.request_id, "success")
    assert {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"} <= set(report["metrics"])
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in events)


def test_json_format_at_info_leaves_out_what_went_well(client, function):
    each = function(ECHO, LoggingConfig={"LogFormat": "JSON"})
    types = [json.loads(line)["type"] for line in invoke(client, each).log.splitlines()]
    assert types == ["platform.initStart", "platform.start", "platform.report"]


def test_json_format_makes_pythons_logging_write_json(client, function):
    each = function("import logging\ndef handler(e, c): logging.getLogger().warning('hm')\n", LoggingConfig={"LogFormat": "JSON"})
    answer = invoke(client, each)
    [line] = [json.loads(line) for line in answer.log.splitlines() if '"hm"' in line]
    assert (line["level"], line["message"], line["requestId"]) == ("WARN" if line["level"] == "WARN" else "WARNING", "hm", answer.request_id)


@pytest.mark.parametrize("size", [300_000, 2_000_000])
def test_a_very_long_line_is_survived(client, function, size):
    answer = invoke(client, function(f"def handler(e, c):\n    print('y' * {size})\n    print('after')\n    return 1\n", Timeout=20))
    assert good(answer) == 1
    assert "after\n" in answer.log


def test_a_print_of_several_words_is_one_event(gateway, client, function):
    """Python's client writes each word by itself."""
    mark = len(gateway.log)
    each = function("import time\ndef handler(e, c):\n    for n in range(200): print('word', n, 'end')\n")
    good(invoke(client, each, tail=False))
    until(lambda: "word 199 end" in gateway.said(mark), "the last line in the gateway's log")
    assert len([line for line in gateway.log[mark:] if "DEBUG word " in line and " end function=" in line]) == 200
