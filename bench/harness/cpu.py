"""What processes cost: CPU time from the scheduler's own account, memory from the kernel's maps."""

import os
import resource
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def raise_files() -> int:
    """Raises the number of descriptors that this process and its children may have as far as it goes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return min(most, 200_000)


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold anything: the fields follow its last parenthesis.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, []))
    return found


def seconds(root: int) -> float:
    """CPU time of a process and its descendants so far, from the first field of schedstat (ns)."""
    total = 0
    for pid in tree(root):
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except (OSError, ValueError, IndexError):
                continue
    return total / 1e9


def own_seconds() -> float:
    """CPU time of this process and of all that it ever started, ended or not."""
    ticks = 0
    for pid in tree(os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # own, and of children that ended: user and system
        except (OSError, ValueError, IndexError):
            continue
    return ticks / TICK


def busy_seconds() -> float:
    """CPU time that all processes of the machine have spent, stolen time included: it was not ours to use.
    Interrupts are left out: on the loopback it is the load itself that makes them."""
    user, nice, system, _idle, _wait, _irq, _softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + steal) / TICK


class Others:
    """What all processes that are not ours use while it is open: `cores` afterwards."""

    def __enter__(self) -> "Others":
        self.start, self.own, self.busy = time.monotonic(), own_seconds(), busy_seconds()
        self.cores = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.elapsed = time.monotonic() - self.start
        own, busy = own_seconds() - self.own, busy_seconds() - self.busy
        self.cores = max(0.0, busy - own) / self.elapsed


def memory_kib(root: int) -> dict[str, int]:
    """Resident memory of a process group, and the part of it that is private and not a file's."""
    rss = private = 0
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        fields = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
        rss += fields["Rss"]
        private += fields.get("Pss_Anon", fields["Private_Dirty"])
    return {"rss_kib": rss, "private_kib": private}


def wait_until_idle(root: int, limit: float = 300.0) -> float:
    """Waits until a process group has nothing to do (no compiling, no warming up): less than 2 % of
    a core for 0.6 s. The seconds it took; raises TimeoutError after `limit`."""
    start = time.monotonic()
    before = seconds(root)
    while time.monotonic() - start < limit:
        time.sleep(0.6)
        after = seconds(root)
        if after - before < 0.012:
            return time.monotonic() - start
        before = after
    raise TimeoutError(f"still busy after {limit:.0f} s")
