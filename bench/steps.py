"""What is done to each gateway, and which figures come out of it.

A step is one call of `busbar bench load`. A figure is a number drawn from the steps of one round;
tables show its median over the rounds.
"""

# Timing that a prompt asks of the backend, in microseconds: a calm stream, one chunk each
# millisecond, one chunk each second.
CALM = "[[ttft=20000 itl=5000]]"
FIRE = "[[ttft=0 itl=1000]]"
HOLD = "[[ttft=1000 itl=1000000]]"


def whole(size, connections, warmup="400ms", duration="1500ms"):
    return ["--size", size, "--connections", str(connections), "--warmup", warmup,
            "--duration", duration]


def stream(prompt, tokens, connections, warmup, duration):
    return ["--size", "1k", "--stream", "--max-tokens", str(tokens), "--prompt", prompt,
            "--connections", str(connections), "--warmup", warmup, "--duration", duration]


# Memory is read in the held streams before large bodies have passed through.
STEPS = {
    "latency_1": whole("1k", 1),
    "latency_8": whole("1k", 8),
    "sse_1": stream(CALM, 100, 1, "600ms", "2s"),
    "sse_8": stream(CALM, 100, 8, "600ms", "2s"),
    "hold_1000": stream(HOLD, 1000, 1000, "1500ms", "1500ms") + ["--open-ramp", "1500"],
    "hold_9000": stream(HOLD, 1000, 9000, "3500ms", "1500ms") + ["--open-ramp", "4500"],
    "chunks": stream(FIRE, 20000, 64, "500ms", "2s"),
    "max_1k": whole("1k", 64),
    "max_32k": whole("32k", 64),
    "max_256k": whole("256k", 32),
}
# What --tls goes through: the client's end of TLS takes a share of the load's core.
TLS_STEPS = ["sse_8", "hold_1000", "chunks", "max_1k", "max_32k", "max_256k"]
HOLDS = {"hold_1000": 1000, "hold_9000": 9000}


def value(result, step, *path):
    """A number of a step's result, or None."""
    found = result.get(step)
    for key in path:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def time_of(step, name, quantile):
    return lambda r, direct: value(r, step, f"{name}_us", quantile)


def added(step, name, quantile):
    """What the gateway adds to the way without one, in the same round."""
    def figure(r, direct):
        here, there = value(r, step, f"{name}_us", quantile), value(direct, step, f"{name}_us",
                                                                    quantile)
        return None if here is None or there is None or r is direct else here - there
    return figure


def rate(step, key):
    return lambda r, direct: value(r, step, key)


def cpu_us_per(step, key):
    """CPU time of the gateway over all requests or chunks of the step."""
    def figure(r, direct):
        cpu_s, count = value(r, step, "gateway_cpu_s"), value(r, step, key)
        return None if r is direct or cpu_s is None or not count else 1e6 * cpu_s / count
    return figure


def memory_mib(step, key):
    def figure(r, direct):
        kib = value(r, step, "memory", key)
        return None if r is direct or kib is None else kib / 1024
    return figure


def kib_per_stream(step):
    """What the held streams add to the idle gateway, a stream."""
    def figure(r, direct):
        idle, held = value(r, "start", "memory", "rss_kib"), value(r, step, "memory", "rss_kib")
        open_streams = value(r, step, "answering_at_end")
        if r is direct or idle is None or held is None or not open_streams:
            return None
        return max(0, held - idle) / open_streams
    return figure


def failures(r, direct):
    total = 0
    for step in STEPS:
        total += sum((value(r, step, "errors") or {}).values())
        if step in HOLDS and r.get(step):
            total += max(0, HOLDS[step] - (value(r, step, "answering_at_end") or 0))
    return total


LESS, MORE = "less is better", "more is better"

# name, unit, what is better, how it is drawn
FIGURES = [
    ("latency added, 1 connection, p50", "µs", LESS, added("latency_1", "e2e", "p50")),
    ("latency added, 1 connection, p99", "µs", LESS, added("latency_1", "e2e", "p99")),
    ("latency added, 8 connections, p50", "µs", LESS, added("latency_8", "e2e", "p50")),
    ("latency added, 8 connections, p99", "µs", LESS, added("latency_8", "e2e", "p99")),
    ("TTFT added, 1 stream, p50", "µs", LESS, added("sse_1", "ttft", "p50")),
    ("TTFT added, 8 streams, p50", "µs", LESS, added("sse_8", "ttft", "p50")),
    ("chunk one way, 8 streams, p50", "µs", LESS, time_of("sse_8", "hop", "p50")),
    ("chunk one way, 8 streams, p99", "µs", LESS, time_of("sse_8", "hop", "p99")),
    ("requests/s, 1 KB", "/s", MORE, rate("max_1k", "requests_per_s")),
    ("CPU per request, 1 KB", "µs", LESS, cpu_us_per("max_1k", "ended")),
    ("CPU per request, 32 KB", "µs", LESS, cpu_us_per("max_32k", "ended")),
    ("CPU per request, 256 KB", "µs", LESS, cpu_us_per("max_256k", "ended")),
    ("chunks/s, 64 streams, 64,000 offered", "/s", MORE, rate("chunks", "chunks_per_s")),
    ("chunk one way, 64 streams, p50", "µs", LESS, time_of("chunks", "hop", "p50")),
    ("CPU per chunk, 64 streams", "µs", LESS, cpu_us_per("chunks", "chunks_all")),
    ("CPU per chunk, 8 calm streams", "µs", LESS, cpu_us_per("sse_8", "chunks_all")),
    ("memory, idle", "MiB", LESS, memory_mib("start", "rss_kib")),
    ("memory, 1,000 streams", "MiB", LESS, memory_mib("hold_1000", "rss_kib")),
    ("memory, 9,000 streams", "MiB", LESS, memory_mib("hold_9000", "rss_kib")),
    ("memory a held stream, of 9,000", "KiB", LESS, kib_per_stream("hold_9000")),
    ("start to the first answer", "ms", LESS,
     lambda r, direct: None if value(r, "start", "first_answer_s") is None
     else 1000 * value(r, "start", "first_answer_s")),
    ("failed or missing", "", LESS, failures),
    ("CPU of other programs, worst step", "cores", LESS,
     lambda r, direct: max((value(r, step, "other_cpu") or 0 for step in STEPS), default=None)),
]
