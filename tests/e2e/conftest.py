"""One gateway for all tests of a pytest process that need nothing special of theirs."""

import contextlib

import pytest

from functions import create
from gateway import running


@pytest.fixture(scope="session")
def shared():
    with running(env={"LAMBDA_RETRY_BASE_DELAY": "0.3"}) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared, request):
    mark = len(shared.log)
    yield shared
    if getattr(request.node, "failed", False):
        print("--- gateway's log\n" + shared.said(mark))
    code = shared.process.poll()
    if code is not None:
        shared.start()
        pytest.fail(f"the gateway ended by itself, exit code {code}:\n" + shared.said(mark))


@pytest.fixture
def client(gateway):
    return gateway.client()


@pytest.fixture
def function(client):
    """Creates functions that are deleted at the end."""
    made = []

    def make(code, **options):
        made.append(create(client, code, **options))
        return made[-1]

    yield make
    for each in made:
        with contextlib.suppress(client.exceptions.ResourceNotFoundException):
            client.delete_function(FunctionName=each)


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


def pytest_configure(config):
    config.addinivalue_line("markers", "long: waits by nature; starts first, beside the rest")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
