"""Asynchronous invocation: a 202 is a promise, whatever is killed and whenever."""

import json
import re
import time

import pytest

from functions import create, name, refused, until
from gateway import running

# Says what ran, in the gateway's log: a function has no other way out of its sandbox that a test could read.
SAYS = "import time\ndef handler(event, context):\n    print(f\"RAN {event['mark']} {context.aws_request_id}\")\n    time.sleep(event.get('sleep', 0))\n    if event.get('fail'): raise Exception('on purpose')\n"


def send(client, function, **event):
    answer = client.invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode())
    assert answer["StatusCode"] == 202
    return answer["ResponseMetadata"]["RequestId"]


def runs(gateway, mark):
    """(time, request id) of each time that an event with this mark ran, as the log tells it."""
    found = re.findall(rf"^(\S+)Z .*RAN {mark} ([0-9a-f-]{{36}})", gateway.said(), re.M)
    return [(time.mktime(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S")) + float("0" + at[19:]), request) for at, request in found]


@pytest.fixture
def quick(tmp_path):
    """A gateway that a test may kill, with a short delay of retries."""
    with running(tmp_path / "data", "--orphan-timeout", "20", env={"LAMBDA_RETRY_BASE_DELAY": "0.5"}) as gateway:
        yield gateway


def test_an_event_runs_once(gateway, client, function):
    each, mark = function(SAYS), name("once")
    request = send(client, each, mark=mark)
    until(lambda: runs(gateway, mark), "it ran")
    second = name("once")
    send(client, each, mark=second)
    until(lambda: runs(gateway, second), "a later one ran")
    assert [id for _, id in runs(gateway, mark)] == [request]


def test_a_function_error_is_tried_three_times_with_one_request_id(quick):
    client = quick.client()
    function, mark = create(client, SAYS), name("fail")
    request = send(client, function, mark=mark, fail=True)
    seen = until(lambda: len(runs(quick, mark)) == 3 and runs(quick, mark), "three attempts", 30)
    assert {id for _, id in seen} == {request}
    # The base delay, then twice that.
    assert seen[1][0] - seen[0][0] >= 0.5 and seen[2][0] - seen[1][0] >= 1.0
    until(lambda: f"an event was dropped: RetriesExhausted request={request}" in quick.said(), "it is told that it was dropped", 5)
    assert len(runs(quick, mark)) == 3


def test_an_event_of_a_function_that_is_throttled_runs_later(quick):
    client = quick.client()
    function, mark = create(client, SAYS, Timeout=20), name("throttled")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    for number in range(3):
        send(client, function, mark=f"{mark}-{number}", sleep=0.5)
    until(lambda: all(runs(quick, f"{mark}-{number}") for number in range(3)), "all three ran, one after the other", 30)


def test_an_event_for_a_function_with_zero_reserved_is_dropped(quick):
    client = quick.client()
    function, mark = create(client, SAYS), name("zero")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    request = send(client, function, mark=mark)
    until(lambda: f"an event was dropped: ZeroReservedConcurrency request={request}" in quick.said(), "it is told")
    assert not runs(quick, mark)


def test_an_event_for_an_unknown_function_is_refused_at_once(client):
    with refused("ResourceNotFoundException", 404):
        client.invoke(FunctionName="none", InvocationType="Event", Payload=b"{}")


def test_an_alias_is_resolved_at_each_attempt(quick):
    client = quick.client()
    function, mark = create(client, SAYS), name("alias")
    client.publish_version(FunctionName=function)
    client.create_alias(FunctionName=function, Name="live", FunctionVersion="1")
    client.invoke(FunctionName=function, Qualifier="live", InvocationType="Event", Payload=json.dumps({"mark": mark}).encode())
    until(lambda: runs(quick, mark), "it ran")


def test_an_event_accepted_just_before_kill_9_runs_after_the_restart(quick):
    client = quick.client()
    function, mark = create(client, SAYS, Timeout=20), name("killed")
    # Slow to start, so that it has certainly not run when the gateway dies.
    request = send(client, function, mark=mark)
    quick.kill()
    ran_before = bool(runs(quick, mark))
    quick.start()
    if not ran_before:
        until(lambda: runs(quick, mark), "it ran", 40)
    assert {id for _, id in runs(quick, mark)} == {request}


def test_many_events_over_kill_9_all_run(quick):
    client = quick.client()
    function, mark = create(client, SAYS, Timeout=20), name("many")
    requests = {send(client, function, mark=f"{mark}-{number}", sleep=0.02): number for number in range(120)}
    quick.kill()
    quick.start()
    done = lambda: {id for number in (mark,) for id in re.findall(rf"RAN {number}-\d+ ([0-9a-f-]{{36}})", quick.said())}
    until(lambda: done() >= set(requests), "all ran", 60)
    assert done() == set(requests)


def test_an_event_that_was_running_at_kill_9_runs_again(quick):
    client = quick.client()
    function, mark = create(client, SAYS, Timeout=30), name("running")
    request = send(client, function, mark=mark, sleep=2)
    until(lambda: runs(quick, mark), "it runs")
    quick.kill()
    quick.start()
    until(lambda: len(runs(quick, mark)) == 2, "it runs again", 40)
    assert {id for _, id in runs(quick, mark)} == {request}


def test_events_that_wait_survive_sigterm(quick):
    client = quick.client()
    function, mark = create(client, SAYS, Timeout=20), name("term")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    for number in range(4):
        send(client, function, mark=f"{mark}-{number}", sleep=0.5)
    assert quick.stop() == 0
    quick.start()
    until(lambda: all(runs(quick, f"{mark}-{number}") for number in range(4)), "all ran", 40)


def test_nothing_runs_again_after_success_and_a_restart(quick):
    client = quick.client()
    function, mark = create(client, SAYS), name("done")
    send(client, function, mark=mark)
    until(lambda: runs(quick, mark), "it ran")
    assert quick.stop() == 0
    quick.start()
    after = name("after")
    send(quick.client(), function, mark=after)
    until(lambda: runs(quick, after), "a later one ran")
    assert len(runs(quick, mark)) == 1
