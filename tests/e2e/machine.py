"""What a gateway has of the machine: processes, cgroups, mounts, sockets, links. Nothing of it may stay."""

import hashlib
import os
import pathlib
import subprocess
import time


def stat(pid):
    """(parent, start time, state) of a process; None when it has gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), int(fields[19]), fields[0]


def processes_below(pid):
    """The process and all its descendants, as (pid, start time): a pid alone may be given again."""
    all_of_them = {int(entry): stat(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    children = {}
    for child, seen in all_of_them.items():
        if seen:
            children.setdefault(seen[0], []).append(child)
    found, look = set(), [pid]
    while look:
        one = look.pop()
        if all_of_them.get(one):
            found.add((one, all_of_them[one][1]))
        look += children.get(one, [])
    return found


def alive(processes):
    """Those of them that still run."""
    still = set()
    for pid, started in processes:
        seen = stat(pid)
        if seen and seen[1] == started and seen[2] not in "ZX":
            still.add((pid, command(pid)))
    return still


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def installation(data):
    """The eight characters by which a data directory's things on the machine are named."""
    return hashlib.sha256(os.path.realpath(data).encode()).hexdigest()[:8]


def leftovers(data):
    """Files, cgroups, mounts and links of a data directory's gateway outside of it."""
    mark = installation(data)
    found = [str(path) for base in ("/run/warmpod", f"/tmp/warmpod-{os.geteuid()}") for path in pathlib.Path(base).glob(mark)]
    found += [root for root, _, _ in os.walk("/sys/fs/cgroup") if mark in root]
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if mark in line or str(data) in line]
    return found


def links(data):
    """A gateway's network links: its bridge and what hangs on it."""
    bridge = f"wp{installation(data)}"
    shown = subprocess.run(["ip", "-brief", "link", "show", "master", bridge], capture_output=True, text=True, check=False).stdout
    hanging = {line.split()[0].split("@")[0] for line in shown.splitlines() if line.strip()}
    return hanging | ({bridge} if exists(bridge) else set())


def exists(link):
    return os.path.exists(f"/sys/class/net/{link}")


def wait_until_gone(data, processes, its_links, seconds=15):
    """Waits until nothing of a gateway is on the machine any more: these processes, these links, files, cgroups, mounts."""
    deadline = time.monotonic() + seconds
    while there := [*alive(processes), *filter(exists, its_links), *leftovers(data)]:
        assert time.monotonic() < deadline, f"still there after {seconds} s: {there}"
        time.sleep(0.05)


def resident(pid):
    """Resident memory of a process, bytes."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
