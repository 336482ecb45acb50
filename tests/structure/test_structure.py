"""How the sources hang together: the dependency rule of ARCHITECTURE.md, and no file that is too long to read."""

import json
import pathlib
import re
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CRATES = {"gateway/src", "gateway/protocol/src", "runtime-agent/src", "runtime-agent/link/src"}
LONGEST = 600
# Client libraries of Kubernetes, and async stacks, that have no place in the small crates.
KUBERNETES = {"kube", "k8s-openapi"}
ASYNC_AND_IO = {"tokio", "hyper", "mio", "async-std", "smol", "reqwest", "rustix", "libc", "socket2"}


def packages():
    said = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {package["name"]: package for package in json.loads(said)["packages"]}


def dependencies(package):
    """What it is built from; what only its tests use does not count."""
    return {each["name"] for each in packages()[package]["dependencies"] if each["kind"] != "dev"}


def sources(folder, but=()):
    for path in sorted((REPOSITORY / folder).rglob("*.rs")):
        relative = path.relative_to(REPOSITORY)
        if path.name != "tests.rs" and not set(but) & set(relative.parts):
            yield relative, without_tests_and_comments(path.read_text())


def without_tests_and_comments(text):
    code = text.split("#[cfg(test)]\nmod tests {")[0]
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("//"))


def breaking(files, pattern):
    return [f"{path}: {line.strip()}" for path, text in files for line in text.splitlines() if re.search(pattern, line)]


def test_the_workspace_has_these_crates():
    assert set(packages()) == {"warmpod", "warmpod-protocol", "warmpod-agent", "warmpod-link"}


def test_protocol_and_link_know_nothing_of_the_rest():
    for package in ("warmpod-protocol", "warmpod-link"):
        assert not {each for each in dependencies(package) if each.startswith("warmpod")}


def test_protocol_and_link_do_no_io():
    for package in ("warmpod-protocol", "warmpod-link"):
        assert not dependencies(package) & (ASYNC_AND_IO | KUBERNETES)
    for folder in ("gateway/protocol/src", "runtime-agent/link/src"):
        assert not breaking(sources(folder), r"\bstd::(net|fs|process|thread|time::(Instant|SystemTime))\b|\basync fn\b|\.await\b")


def test_the_agent_depends_on_neither_kube_nor_protocol_nor_an_async_stack():
    assert not dependencies("warmpod-agent") & (KUBERNETES | {"warmpod-protocol", "warmpod", "tokio", "hyper"})


def test_services_never_name_an_engine_or_a_worker_they_lease_from_the_pool():
    services = [*sources("gateway/src/lambda")]
    assert services
    assert not breaking(services, r"\bcrate::engine\b|\bengine::(local|kubernetes)\b|\bkube::|\bk8s_openapi\b|\bLocalEngine\b|\bWorkerId\b")


def test_only_http_knows_http_on_the_clients_side():
    others = [(path, text) for path, text in sources("gateway/src", but=("http", "http.rs", "upstream.rs", "serve.rs")) if "config" not in path.parts and path.name not in ("config.rs",)]
    assert not breaking(others, r"\bhyper(_util)?::|\baxum::|\bhttp::(Request|Response|StatusCode)\b")


def test_the_pool_knows_no_service():
    assert not breaking(sources("gateway/src/pool"), r"\bcrate::(lambda|http|store)\b")


def test_engines_know_neither_services_nor_the_pool():
    assert not breaking(sources("gateway/src/engine"), r"\bcrate::(lambda|http|pool|store)\b")


def test_unsafe_is_in_one_file():
    found = {str(path) for crate in CRATES for path, text in sources(crate) if re.search(r"\bunsafe\s*(\{|fn|impl)", text)}
    assert found <= {"runtime-agent/src/sys.rs"}


def test_no_file_is_longer_than_600_lines():
    long = {}
    for pattern in ("gateway/**/*.rs", "runtime-agent/**/*.rs", "images/**/*", "Makefile"):
        for path in REPOSITORY.glob(pattern):
            relative = path.relative_to(REPOSITORY)
            exempt = {"model", "tests", "target"} & set(relative.parts) or path.name in ("model.rs", "tests.rs")
            if path.is_file() and not exempt:
                count = path.read_bytes().count(b"\n")
                if count > LONGEST:
                    long[str(relative)] = count
    assert long == {}


def test_no_file_is_named_for_nothing():
    nothing = {"util", "utils", "common", "helpers", "helper", "manager", "misc"}
    named = [path for crate in CRATES for path in (REPOSITORY / crate).rglob("*") if path.stem in nothing]
    assert named == []


def test_every_module_opens_with_what_it_owns():
    mute = [str(path) for crate in CRATES for path in sorted((REPOSITORY / crate).rglob("*.rs")) if path.name != "tests.rs" and "model" not in path.parts and "tests" not in path.parts and not path.read_text().startswith(("//!", "// @generated"))]
    assert mute == []
