"""Memory of the gateway and the agent, and system calls of a warm invocation."""

import base64
import concurrent.futures
import http.client
import json
import os
import re
import shutil
import subprocess
import time

import machine
import tools
from report import Row, at_most, skipped
from subjects import ROLE, Gateway, load, zipped

MIB = 1024 * 1024


def per_environment(gateway, name, count):
    """Bytes of the gateway for one more warm environment; and the agents' median resident size."""
    before = machine.resident(gateway.pid)
    bound = gateway.pool()["bound"]
    load(gateway.invoke_url(name), count, requests=count, event={"hold_ms": 8000})
    added = gateway.pool()["bound"] - bound
    if added < count // 2:
        raise RuntimeError(f"only {added} environments came of {count} concurrent invocations")
    grown = machine.resident(gateway.pid) - before
    return grown / added, added


def per_function(gateway, count, workers=4):
    """Bytes of the gateway for one more function, and how many were created a second."""
    before = machine.resident(gateway.pid)
    code = base64.b64encode(zipped({"bootstrap": "#!/bin/sh\n"})).decode()

    def create(share):
        connection = http.client.HTTPConnection(gateway.address, timeout=60)
        for number in range(share, count, workers):
            request = {
                "FunctionName": f"one-of-many-{number}",
                "Runtime": "provided.al2023",
                "Handler": "app.handler",
                "Role": ROLE,
                "Code": {"ZipFile": code},
            }
            connection.request("POST", "/2015-03-31/functions", json.dumps(request))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 201:
                raise RuntimeError(f"CreateFunction answered {answer.status}: {body.decode()}")
        connection.close()

    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(create, range(workers)))
    took = time.perf_counter() - began
    gateway.wait_until(lambda: gateway.state(f"one-of-many-{count - 1}") == "Active")
    return (machine.resident(gateway.pid) - before) / count, count / took


def rows(environments, functions):
    found = []
    with Gateway() as gateway:
        found.append(at_most("gateway, idle: resident", machine.resident(gateway.pid) / MIB, 40, "MiB"))
        for name in "first", "hold":
            gateway.create(name, "provided.al2023", {"bootstrap": tools.PROGRAMS / "echo"})
        # So many clients at once take memory of their own, that stays: it is taken before.
        per_environment(gateway, "first", environments)
        size, added = per_environment(gateway, "hold", environments)
        found.append(at_most("gateway, for each warm environment", size / 1024, 20, "KiB", f"{added} environments"))
        agents = gateway.agents()
        resident = machine.median_resident(agents)
    with Gateway() as gateway:
        size, speed = per_function(gateway, functions)
        detail = f"{functions:,} functions, {speed:,.0f} created a second"
        found.append(at_most("gateway, for each function", size / 1024, 8, "KiB", detail))
    program = os.path.getsize(tools.DIST / "warmpod-agent") / MIB
    found.append(at_most("agent, program", program, 4, "MiB"))
    if resident is None:
        found.append(skipped("agent, resident", "no agent was found among the gateway's processes"))
    else:
        found.append(at_most("agent, resident", resident / MIB, 4, "MiB", f"median of {len(agents)}"))
    return found


def system_calls(gateway, name, connections, requests=2000):
    """System calls of gateway and agents for one warm invocation, by strace."""
    what = f"system calls per warm invocation, {connections} connection{'s' if connections > 1 else ''}"
    if shutil.which("strace") is None:
        return skipped(what, "strace is not installed")
    counts = {}
    # One at a time: traced processes are slow.
    for who, processes in ("gateway", [gateway.pid]), ("agents", gateway.agents()):
        if not processes:
            return skipped(what, f"no {who} found")
        command = ["strace", "-f", "-c", "-U", "calls,name", *(word for p in processes for word in ("-p", str(p)))]
        tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            attached = 0
            while attached < len(processes):
                line = tracer.stderr.readline()
                if not line or "not permitted" in line:
                    return skipped(what, f"strace may not attach: {line.strip()}")
                attached += "attached" in line
            load(gateway.invoke_url(name), connections, requests=requests)
        finally:
            tracer.send_signal(2)
            text = tracer.stderr.read()
            tracer.wait()
        counts[who] = {call: int(n) / requests for n, call in re.findall(r"^\s*(\d+)\s+([a-z_0-9]+)$", text, re.M)}
    shown = []
    for who, calls in counts.items():
        total = calls.pop("total", sum(calls.values()))
        main = sorted(calls.items(), key=lambda call: -call[1])[:5]
        shown.append(f"{who} {total:.1f} ({', '.join(f'{n:.1f} {call}' for call, n in main if n >= 0.05)})")
    return Row(what, "; ".join(shown))
