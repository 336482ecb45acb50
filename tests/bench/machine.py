"""What /proc says of processes and of this machine."""

import os
import pathlib
import platform
import re
import statistics

PROC = pathlib.Path("/proc")


def tree(root):
    """A process and everything that it started."""
    children = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rsplit(") ", 1)[1].split()[1]), []).append(int(entry.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def named(root, *names):
    """Those of a tree whose program or argument has one of these file names."""
    found = []
    for process in tree(root):
        try:
            words = (PROC / str(process) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(os.path.basename(word.decode(errors="replace")) in names for word in words[:1]):
            found.append(process)
    return found


def resident(process):
    """Resident memory in bytes."""
    status = (PROC / str(process) / "status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def median_resident(processes):
    sizes = []
    for process in processes:
        try:
            sizes.append(resident(process))
        except (OSError, AttributeError):
            continue
    return statistics.median(sizes) if sizes else None


def unified_cgroups():
    """Whether workers can be born in their cgroup (cgroup v2 with the memory controller)."""
    try:
        return "memory" in pathlib.Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    except OSError:
        return False


def describe():
    cpu = re.search(r"model name\s*:\s*(.+)", (PROC / "cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", (PROC / "meminfo").read_text()).group(1)) / 1024**2
    cgroup = "v2" if unified_cgroups() else "v1"
    return (
        f"{os.cpu_count()} cores ({cpu.group(1) if cpu else platform.machine()}), {memory:.0f} GiB, "
        f"Linux {platform.release()}, cgroup {cgroup}"
    )


def load_average():
    return os.getloadavg()[0]
