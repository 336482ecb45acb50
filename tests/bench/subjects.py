"""The programs under test: each is started on a free port, says where it can be invoked, and is gone at the end."""

import base64
import contextlib
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zipfile

import machine
import tools

ROLE = "arn:aws:iam::000000000000:role/bench"
EVENT = {"hello": "world", "n": 1}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def load(url, connections=1, seconds=None, requests=None, event=EVENT, pid=None, timeout=180):
    """One run of the load generator; it fails at the first wrong answer."""
    command = [tools.PROGRAMS / "load", "--url", url, "--connections", str(connections)]
    command += ["--body", json.dumps(event, separators=(",", ":"))]
    command += ["--seconds", str(seconds)] if seconds else ["--requests", str(requests or connections)]
    command += ["--tree", str(pid)] if pid else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"load on {url}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


class Subject:
    """A running program. `pid` is the root of the processes whose CPU counts as its own."""

    def __init__(self, name, command, **options):
        self.name = name
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="warmpod-bench-"))
        self.log = open(self.folder / "log", "w+b")
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=options.pop("stdout", self.log),
            stderr=self.log,
            start_new_session=True,
            **options,
        )
        self.pid = self.process.pid
        self.url = None

    def wait_until(self, ready, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException, RuntimeError):
                found = ready()
                if found:
                    return found
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not become ready: {self.last_lines()}")

    def last_lines(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")[-600:].strip()

    def stop(self):
        processes = machine.tree(self.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # Runtimes that outlive their server would disturb what is measured next.
        for process in processes[1:]:
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(process) == self.pid:
                    os.kill(process, signal.SIGKILL)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Gateway(Subject):
    """warmpod."""

    def __init__(self, generic=1, keepalive=None, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LAMBDA_", "WARMPOD_", "LOCALSTACK_"))}
        environment |= variables | {"NO_COLOR": "1"}
        if keepalive is not None:
            environment["LAMBDA_KEEPALIVE_MS"] = str(keepalive)
        self.data = tempfile.mkdtemp(prefix="warmpod-bench-data-")
        command = [tools.DIST / "warmpod", "serve", "--listen", "127.0.0.1:0", "--data-dir", self.data]
        super().__init__("warmpod", [*command, "--generic-workers", generic], env=environment)
        address = self.wait_until(lambda: re.search(r"serves http://(\S+)", self.last_lines()))
        self.address = address.group(1)
        self.connection = http.client.HTTPConnection(self.address, timeout=120)
        self.called = time.monotonic()

    def call(self, method, path, body=None):
        """Status, headers, body; on one connection that is kept while it is in use."""
        if time.monotonic() - self.called > 10:
            # The gateway closes what is idle for half a minute; the next request opens it again.
            self.connection.close()
        self.called = time.monotonic()
        self.connection.request(method, path, body)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def create(self, name, runtime, files, timeout=30, memory=128):
        request = {
            "FunctionName": name,
            "Runtime": runtime,
            "Handler": "app.handler",
            "Role": ROLE,
            "Timeout": timeout,
            "MemorySize": memory,
            "Code": {"ZipFile": base64.b64encode(zipped(files)).decode()},
        }
        status, _, body = self.call("POST", "/2015-03-31/functions", json.dumps(request))
        if status != 201:
            raise RuntimeError(f"CreateFunction answered {status}: {body.decode()}")
        self.wait_until(lambda: self.state(name) == "Active")
        return self.invoke_url(name)

    def state(self, name):
        state = json.loads(self.call("GET", f"/2015-03-31/functions/{name}/configuration")[2])["State"]
        if state == "Failed":
            raise AssertionError(f"{name} is Failed")
        return state

    def invoke_url(self, name):
        return f"http://{self.address}/2015-03-31/functions/{name}/invocations"

    def invoke(self, name, event):
        """The function's answer and how long it took, in ms."""
        payload = json.dumps(event)
        began = time.perf_counter()
        status, headers, body = self.call("POST", f"/2015-03-31/functions/{name}/invocations", payload)
        took = (time.perf_counter() - began) * 1000
        if status != 200 or "X-Amz-Function-Error" in headers:
            raise RuntimeError(f"{name} answered {status}: {body.decode()[:500]}")
        return json.loads(body), took

    def pool(self):
        return json.loads(self.call("GET", "/_warmpod/pool")[2])

    def wait_settled(self, generic=0, seconds=60):
        """Until no worker is on its way in or out, none is bound, and so many generic ones (or more) are ready."""

        def settled():
            pool = self.pool()
            ready = pool.pop("generic")
            return not any(pool.values()) and (ready >= generic if generic else ready == 0)

        self.wait_until(settled, seconds)

    def wait_started(self):
        """Until nothing starts any more: what starts would take the machine from what is measured."""
        self.wait_until(lambda: not any(self.pool()[what] for what in ("starting", "claiming", "stopping")))

    def agents(self):
        return machine.named(self.pid, "warmpod-agent")

    def stop(self):
        self.connection.close()
        super().stop()
        shutil.rmtree(self.data, ignore_errors=True)


class Limit(Subject):
    """The bare limit: front and Runtime API in one process."""

    def __init__(self, environments):
        command = [tools.PROGRAMS / "limit", environments, tools.PROGRAMS / "echo"]
        super().__init__("limit", command)
        found = self.wait_until(lambda: re.search(r"http://\S+", self.last_lines()))
        self.url = f"{found.group(0)}/2015-03-31/functions/echo/invocations"


class CargoLambda(Subject):
    """`cargo lambda watch` with the same function."""

    def __init__(self, program, environments):
        port = free_port()
        command = [program, "lambda", "watch", "--release", "--ignore-changes", "--concurrency", environments]
        command += ["--invoke-address", "127.0.0.1", "--invoke-port", port]
        super().__init__("cargo lambda watch", command, cwd=tools.HERE / "echo", env=tools.cargo_environment())
        self.url = f"http://127.0.0.1:{port}/2015-03-31/functions/echo/invocations"
        self.wait_until(lambda: load(self.url, requests=1))


class Emulator(Subject):
    """AWS's Runtime Interface Emulator with a Python function."""

    def __init__(self, program, python, code):
        port = free_port()
        environment = os.environ | {"PYTHONPATH": str(python.client)}
        command = [program, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
        command += ["--runtime-api-address", f"127.0.0.1:{free_port()}"]
        command += [python.executable, "-m", "awslambdaric", "app.handler"]
        super().__init__("Runtime Interface Emulator", command, cwd=code, env=environment)
        self.url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        self.wait_until(lambda: load(self.url, requests=1), 20)


class ServerlessOffline(Subject):
    """serverless-offline with a Python function."""

    def __init__(self, program, python, code):
        ports = [free_port() for _ in range(3)]
        (pathlib.Path(code) / "serverless.yml").write_text(
            "service: bench\nframeworkVersion: '3'\nplugins: [serverless-offline]\n"
            f"provider: {{name: aws, runtime: python3.{python.minor}, stage: dev}}\n"
            "functions: {echo: {handler: app.handler}}\n"
        )
        modules = pathlib.Path(program).parents[1]
        with contextlib.suppress(FileExistsError):
            (pathlib.Path(code) / "node_modules").symlink_to(modules)
        command = [program, "offline", "start", "--host", "127.0.0.1", "--httpPort", ports[0]]
        command += ["--lambdaPort", ports[1], "--albPort", ports[2], "--noPrependStageInUrl"]
        folder = pathlib.Path(python.executable).parent
        environment = os.environ | {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SLS_TELEMETRY_DISABLED": "1",
            "SLS_NOTIFICATIONS_MODE": "off",
            "CI": "1",
        }
        super().__init__("serverless-offline", command, cwd=code, env=environment)
        self.url = f"http://127.0.0.1:{ports[1]}/2015-03-31/functions/bench-dev-echo/invocations"
        self.wait_until(lambda: load(self.url, requests=1), 60)


def zipped(files):
    """A package of {name: text or path of a program}."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in files.items():
            content = content.read_bytes() if isinstance(content, pathlib.Path) else content
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100755 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            writer.writestr(info, content)
    return archive.getvalue()
