"""Conversations of several turns, as clients have them, for tests of routing.

Each conversation begins with a context of its own; every turn sends all that was said before, then a
new question, and waits for the whole answer before the next. What comes back of each turn: time to
the first token, prompt tokens, cached tokens as the engine reports them, and who answered.
"""

import http.client
import json
import random
import threading
import time

WORDS = ("the of and to in is that it was for on are as with they at be this from have or by one had not "
         "but what all were when we there can an your which their said if do will each about how").split()


def text(rng, words):
    return " ".join(rng.choice(WORDS) for _ in range(words))


class Turn:
    def __init__(self, number):
        self.number = number
        self.ttft = None
        self.total = None
        self.prompt = self.cached = self.output = 0
        self.finish = None
        self.status = None
        self.answer = ""


def ask(port, body, turn, headers=None):
    """One streamed chat; fills in the turn."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    begin = time.monotonic()
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        turn.status = answer.status
        if answer.status != 200:
            turn.answer = answer.read().decode("utf-8", "replace")
            return
        for line in answer:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                turn.prompt = chunk["usage"]["prompt_tokens"]
                turn.output = chunk["usage"]["completion_tokens"]
                turn.cached = (chunk["usage"].get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            for choice in chunk.get("choices", ()):
                piece = choice.get("delta", {}).get("content")
                if piece:
                    turn.ttft = turn.ttft or time.monotonic() - begin
                    turn.answer += piece
                turn.finish = choice.get("finish_reason") or turn.finish
        turn.total = time.monotonic() - begin
    finally:
        connection.close()


class Conversations:
    """`count` at the same time, of `turns` turns each; words are about tokens."""

    def __init__(self, count, turns, context=800, question=200, output=60, think=0.0, seed=1,
                 shared=0, model="m"):
        self.count, self.turns, self.context, self.question = count, turns, context, question
        self.output, self.think, self.seed, self.shared, self.model = output, think, seed, shared, model
        self.done = []   # a list of turns for each conversation

    def _one(self, port, index, stop):
        rng = random.Random(self.seed * 1000 + index)
        common = text(random.Random(self.seed), self.shared) if self.shared else ""
        messages = [{"role": "system", "content": (common + " " + text(rng, self.context)).strip()}]
        turns = self.done[index]
        time.sleep(rng.random() * 0.2)
        for number in range(self.turns):
            if stop.is_set():
                return
            messages.append({"role": "user", "content": text(rng, self.question)})
            turn = Turn(number)
            turns.append(turn)
            ask(port, {"model": self.model, "messages": messages, "max_tokens": self.output, "stream": True,
                       "stream_options": {"include_usage": True}}, turn)
            messages.append({"role": "assistant", "content": turn.answer})
            time.sleep(self.think * rng.random() * 2)

    def run(self, port):
        self.done = [[] for _ in range(self.count)]
        stop = threading.Event()
        threads = [threading.Thread(target=self._one, args=(port, i, stop), daemon=True)
                   for i in range(self.count)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return self

    def all_turns(self):
        return [t for turns in self.done for t in turns]

    def failed(self):
        return [t for t in self.all_turns() if t.status != 200 or t.finish not in ("stop", "length")]

    def mean_ttft(self, first=0):
        times = [t.ttft for t in self.all_turns() if t.ttft and t.number >= first]
        return sum(times) / len(times)

    def reuse(self, block=16):
        """Cached tokens ÷ those that one engine with endless memory would have had: of each later
        turn all whole blocks of the prompt and the answer before."""
        got = possible = 0
        for turns in self.done:
            for before, turn in zip(turns, turns[1:]):
                got += turn.cached
                possible += (before.prompt + before.output) // block * block
        return got / possible if possible else 0.0
