"""Processes of a benchmark: started on given cores, measured with all their children, stopped.

Everything here reads /proc, so it needs Linux.
"""
import os
import re
import signal
import subprocess

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """One program and what it starts, bound to cores; its output goes to a file."""

    def __init__(self, command, cores, log, env=None):
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, env={**os.environ, **(env or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, cores))

    def is_running(self):
        return self.process.poll() is None

    def pids(self):
        """Itself, its children, theirs, and so on."""
        children = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                fields = stat_fields(int(name))
                if fields:
                    children.setdefault(int(fields[1]), []).append(int(name))
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def usage(self):
        """CPU seconds so far; resident and proportional memory in KiB; threads."""
        total = {"cpu_s": 0.0, "rss_kib": 0, "pss_kib": 0, "threads": 0}
        for pid in self.pids():
            fields = stat_fields(pid)
            if not fields:
                continue
            total["cpu_s"] += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
            total["threads"] += int(fields[17])
            total["rss_kib"] += int(fields[21]) * PAGE_SIZE // 1024
            total["pss_kib"] += proportional_kib(pid)
        return total

    def stop(self):
        """SIGTERM to all of them, SIGKILL to those that stay."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.pids() if self.is_running() else []:
                try:
                    os.kill(pid, signal_number)
                except OSError:
                    pass  # it has gone by itself
            try:
                self.process.wait(5)
                return
            except subprocess.TimeoutExpired:
                continue


def stat_fields(pid):
    """/proc/PID/stat behind the name, which may hold anything; None when it has gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            text = f.read()
    except OSError:
        return None
    return text[text.rindex(")") + 2:].split()


def proportional_kib(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            match = re.search(r"^Pss:\s+(\d+)", f.read(), re.M)
    except OSError:
        return 0
    return int(match[1]) if match else 0


def machine_busy_s():
    """CPU seconds that this machine has spent on anything."""
    with open("/proc/stat", encoding="ascii") as f:
        fields = [int(x) for x in f.readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / TICKS_PER_S


def ended_children_s():
    times = os.times()
    return times.children_user + times.children_system


def split_cores():
    """Cores for the gateway, the backend and the load: apart where there are three."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return {cores[0]}, {cores[0]}, {cores[0]}
    if len(cores) == 2:
        return {cores[1]}, {cores[0]}, {cores[0]}
    return {cores[1]}, {cores[2]}, {cores[0]}


def processor_name():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        match = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return match[1].strip() if match else "unknown processor"
