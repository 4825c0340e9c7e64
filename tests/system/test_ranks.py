"""Goal: the data-parallel ranks behind one address are chosen one by one: requests spread over them by load,
a conversation stays on the rank that has its beginning, and what a client asks for does not count."""

import json
import threading

from gateway_process import Gateway, wait_until
from sim_process import Sim

CHAT = "/v1/chat/completions"
RANKS = 4


def chat(*messages):
    roles = ["user", "assistant"]
    return {"model": "m", "max_tokens": 4,
            "messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(messages)]}


def ranks_by_tag(sim):
    """The rank that each request came with, by the word that its first message begins with."""
    found = {}
    for request in sim.requests():
        if request.get("path") != CHAT:
            continue
        asked = [value for name, value in request["headers"] if name.lower() == "x-data-parallel-rank"]
        assert len(asked) <= 1, asked
        tag = json.loads(request["body"])["messages"][0]["content"].split()[0]
        found.setdefault(tag, []).append(int(asked[0]) if asked else None)
    return found


def run_all(gateway, bodies):
    answers = []
    threads = [threading.Thread(target=lambda b=b: answers.append(gateway.post(CHAT, b)[0])) for b in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * len(bodies)


def test_ranks_are_chosen_and_kept():
    with Sim(["m"], data_parallel_size=RANKS, ttft="100ms") as sim, Gateway([sim]) as gateway:
        wait_until(lambda: gateway.post(CHAT, chat("warm up"))[0] == 200
                   and ranks_by_tag(sim)["warm"][-1] is not None, "ranks")
        first = {f"c{n}": f"c{n} " + f"word{n} " * 1500 for n in range(8)}
        run_all(gateway, [chat(text) for text in first.values()])
        run_all(gateway, [chat(text, "an answer", "and then?") for text in first.values()])
        found = ranks_by_tag(sim)
        for tag in first:
            assert len(found[tag]) == 2 and found[tag][0] == found[tag][1], found
        assert {found[tag][0] for tag in first} == set(range(RANKS)), found


def test_what_a_client_asks_for_does_not_count():
    with Sim(["m"], data_parallel_size=RANKS) as sim, Gateway([sim]) as gateway:
        wait_until(lambda: gateway.post(CHAT, chat("warm up"))[0] == 200
                   and ranks_by_tag(sim)["warm"][-1] is not None, "ranks")
        assert gateway.post(CHAT, chat("mine"), {"x-data-parallel-rank": "77"})[0] == 200
        assert ranks_by_tag(sim)["mine"][0] in range(RANKS)
