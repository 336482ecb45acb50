"""After kill -9 without a restart nothing is left, once the orphan timeout is over."""

import time

import pytest

from functions import create, good, invoke, until
from gateway import running
from machine import alive, links, processes_below, wait_until_gone

pytestmark = pytest.mark.long


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_kill_9_without_a_restart_leaves_nothing_after_the_orphan_timeout(tmp_path, busy):
    with running(tmp_path / "data", "--orphan-timeout", "3") as gateway:
        client = gateway.client()
        function = create(client, "import subprocess, time\ndef handler(event, context):\n    if event: subprocess.Popen(['sleep', '1000'], start_new_session=True)\n    return 1\n", Timeout=600)
        for _ in range(2):
            good(invoke(client, function, busy))
        its, its_links = processes_below(gateway.process.pid), links(gateway.data)
        assert len(its) >= 4, "gateway, keeper, an agent and a function at the least"
        gateway.kill()
        assert alive(its), "the agents wait for a gateway"
        wait_until_gone(gateway.data, its, its_links, 30)


def test_agents_wait_for_a_gateway_as_long_as_they_are_told(tmp_path):
    with running(tmp_path / "data", "--orphan-timeout", "15") as gateway:
        client = gateway.client()
        function = create(client, "import uuid\nborn = str(uuid.uuid4())\ndef handler(e, c): return born\n")
        born = good(invoke(client, function))
        gateway.kill()
        # Not for synchronisation: the time without a gateway is what is tested.
        time.sleep(6)
        gateway.start()
        until(lambda: "adopted=true" in gateway.said(), "the worker dials in")
        assert good(invoke(gateway.client(), function)) == born
