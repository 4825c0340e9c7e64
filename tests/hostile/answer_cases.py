"""Hostile answers: what a mad or malicious engine may send, and what the client must get instead.

Each case: its name, the reason, the raw bytes that the engine answers a request with, whether it then
closes its sending side, whether the client asked for a stream, and what must come of it:

  REFUSED   502 in OpenAI's form; nothing of the answer is shown
  BROKEN    a stream that ends with an error event and without [DONE]; `shows` was sent before
  PASSED    the answer as it is: it is odd, but means one thing only
  (a pair)  the first, or REFUSED where the bytes came in one piece
  CUT       the client's connection breaks off: the only way left to say that half an answer is one

Unless it passed, it is counted in busbar_upstream_errors_total and its connection is not used again.
"""

import dataclasses
import gzip
import json

from raw_engine import GOOD, plain

REFUSED, BROKEN, PASSED, CUT = "refused", "broken", "passed", "cut"
KIB = 1024


@dataclasses.dataclass
class Case:
    name: str
    why: str
    pieces: list
    outcome: str
    stream: bool = False
    closes: bool = False
    shows: tuple = ()       # texts of content that the client gets all the same
    status: int = 200       # of what passes
    reused: bool = False    # the connection serves again; None: its framing is right, so it may
    never: bytes = b""      # what must not reach the client
    body: bytes = None      # of what passes


CASES = []


def refused(name, why, *pieces, **more):
    CASES.append(Case(name, why, list(pieces), REFUSED, **more))


def passed(name, why, *pieces, **more):
    CASES.append(Case(name, why, list(pieces), PASSED, **more))


def broken(name, why, *pieces, **more):
    CASES.append(Case(name, why, list(pieces), BROKEN, stream=True, **more))


N = len(GOOD)
OK = b"HTTP/1.1 200 OK\r\n"
TYPE = b"Content-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % N
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def chunk(data, size=None):
    return (size if size is not None else b"%x" % len(data)) + b"\r\n" + data + b"\r\n"


LAST = b"0\r\n\r\n"

# ---- status lines ----
for name, line in [
    ("http09", b""), ("http20", b"HTTP/2.0 200 OK\r\n"), ("http12", b"HTTP/1.2 200 OK\r\n"),
    ("http_no_version", b"HTTP 200 OK\r\n"), ("lower_case", b"http/1.1 200 OK\r\n"), ("icy", b"ICY 200 OK\r\n"),
    ("rtsp", b"RTSP/1.0 200 OK\r\n"), ("status_99", b"HTTP/1.1 099 OK\r\n"), ("status_0", b"HTTP/1.1 000 OK\r\n"),
    ("status_600", b"HTTP/1.1 600 OK\r\n"), ("status_999", b"HTTP/1.1 999 OK\r\n"), ("status_20", b"HTTP/1.1 20 OK\r\n"),
    ("status_2000", b"HTTP/1.1 2000 OK\r\n"), ("status_text", b"HTTP/1.1 OK\r\n"), ("status_minus", b"HTTP/1.1 -200 OK\r\n"),
    ("status_plus", b"HTTP/1.1 +200 OK\r\n"), ("two_spaces", b"HTTP/1.1  200 OK\r\n"), ("tab", b"HTTP/1.1\t200 OK\r\n"),
    ("bare_lf", b"HTTP/1.1 200 OK\n"), ("bare_cr", b"HTTP/1.1 200 OK\rX: y\r\n"), ("nul", b"HTTP/1.1 200 O\x00K\r\n"),
    ("request", b"POST / HTTP/1.1\r\n"),
]:
    refused("line_" + name, "RFC 9112 §4: HTTP/1.1 SP 3DIGIT SP reason CRLF", line + TYPE + LENGTH + b"\r\n" + GOOD)
for name, data in [("json_alone", GOOD + b"\r\n\r\n"), ("html", b"<html>hello</html>\r\n\r\n"), ("zeros", b"\x00" * 500), ("ssh", b"SSH-2.0-x\r\n"),
                   ("tls", b"\x15\x03\x01\x00\x02\x02\x46"), ("smtp", b"220 mail\r\n"), ("events_alone", b"data: {}\n\n"),
                   ("noise", bytes((i * 89 + 7) & 0xff | 0x80 for i in range(900))), ("redis", b"-ERR\r\n")]:
    refused("garbage_" + name, "not HTTP at all", data)
refused("nothing", "the connection closes without a word", closes=True)
refused("half_a_status_line", "the connection closes inside of it", b"HTTP/1.1 20", closes=True)
refused("half_a_head", "the connection closes inside of it", OK + TYPE + b"Content-Le", closes=True)

# ---- heads ----
for name, fields in [
    ("no_name", b": x\r\n"), ("no_colon", b"garbage\r\n"), ("space_before_colon", b"X-A : b\r\n"), ("space_in_name", b"X A: b\r\n"),
    ("control_in_name", b"X\x01: b\r\n"), ("utf8_in_name", "Xé: b\r\n".encode()), ("folded", b"X-A: b\r\n c\r\n"),
    ("folded_tab", b"X-A: b\r\n\tc\r\n"), ("bare_cr", b"X-A: b\rSet-Cookie: c\r\n"), ("bare_lf", b"X-A: b\nX-B: c\r\n"),
    ("nul", b"X-A: \x00\r\n"), ("control", b"X-A: \x01\r\n"), ("escape", b"X-A: \x1b[2J\r\n"), ("del", b"X-A: \x7f\r\n"),
    ("two_types", b"Content-Type: text/html\r\n"), ("two_codings", b"Content-Encoding: identity\r\nContent-Encoding: identity\r\n"),
    ("101_fields", b"X-A: b\r\n" * 101), ("value_of_40_kib", b"X-A: " + b"b" * 40 * KIB + b"\r\n"),
    ("name_of_40_kib", b"b" * 40 * KIB + b": a\r\n"), ("head_of_33_kib", b"X-A: %s\r\n" % (b"b" * 1000) * 33),
]:
    refused("field_" + name, "RFC 9112 §5: the same strictness as with clients", OK + TYPE + fields + LENGTH + b"\r\n" + GOOD)
refused("endless_head", "a head without end is cut at limits.head_size", OK, *[b"X-A: %s\r\n" % (b"b" * 1000)] * 200)
refused("endless_field", "a field without end", OK + b"X-A: ", *[b"b" * 1000] * 200)
refused("endless_status_line", "a reason without end", b"HTTP/1.1 200 ", *[b"b" * 1000] * 200)

# ---- framing ----
for name, fields in [
    ("length_plus", b"Content-Length: +%d\r\n" % N), ("length_minus", b"Content-Length: -1\r\n"),
    ("length_hexadecimal", b"Content-Length: 0x10\r\n"), ("length_list", b"Content-Length: %d, %d\r\n" % (N, N)),
    ("length_twice_equal", LENGTH + LENGTH), ("length_twice_different", LENGTH + b"Content-Length: 3\r\n"),
    ("length_empty", b"Content-Length:\r\n"), ("length_text", b"Content-Length: many\r\n"), ("length_float", b"Content-Length: 1.5\r\n"),
    ("length_2_to_64", b"Content-Length: 18446744073709551616\r\n"), ("length_and_chunked", LENGTH + CHUNKED),
    ("chunked_and_length", CHUNKED + LENGTH), ("chunked_twice", CHUNKED + CHUNKED), ("gzip_chunked", b"Transfer-Encoding: gzip, chunked\r\n"),
    ("chunked_identity", b"Transfer-Encoding: chunked, identity\r\n"), ("identity", b"Transfer-Encoding: identity\r\n"),
    ("gzip", b"Transfer-Encoding: gzip\r\n"), ("xchunked", b"Transfer-Encoding: xchunked\r\n"), ("coding_empty", b"Transfer-Encoding:\r\n"),
    ("coding_folded", b"Transfer-Encoding:\r\n chunked\r\n"), ("coding_vertical_tab", b"Transfer-Encoding: \x0bchunked\r\n"),
]:
    refused(name, "RFC 9112 §6.3: a length or chunks, and nothing that two parsers read differently",
            OK + TYPE + fields + b"\r\n" + GOOD)
refused("chunked_in_http10", "RFC 9112 §6.1", b"HTTP/1.0 200 OK\r\n" + TYPE + CHUNKED + b"\r\n" + chunk(GOOD) + LAST)
for name, body in [
    ("size_prefix", chunk(GOOD, b"0x%x" % N)), ("size_plus", chunk(GOOD, b"+%x" % N)), ("size_space", chunk(GOOD, b"%x " % N)),
    ("size_letter", chunk(GOOD, b"g")), ("size_empty", chunk(GOOD, b"")), ("size_17_digits", chunk(GOOD, b"f" * 17)),
    ("size_bare_lf", b"%x\n" % N + GOOD), ("size_nul", chunk(GOOD, b"%x\x00" % N)), ("extension_endless", b"%x;" % N + b"a" * 40 * KIB),
    ("zeros_endless", b"0" * 40 * KIB),
]:
    refused("chunk_" + name, "RFC 9112 §7.1", OK + TYPE + CHUNKED + b"\r\n" + body)
CASES.append(Case("length_longer_than_body", "less came than was said", [OK + TYPE + b"Content-Length: %d\r\n\r\n" % (N + 9) + GOOD],
                  CUT, closes=True))
CASES.append(Case("last_chunk_missing", "a chunked body without its end", [OK + TYPE + CHUNKED + b"\r\n" + chunk(GOOD)], CUT, closes=True))
CASES.append(Case("chunk_no_line_end", "RFC 9112 §7.1: found behind bytes that were shown", [OK + TYPE + CHUNKED + b"\r\n", chunk(b"{"), b"%x\r\n" % N + GOOD + b"xx" + LAST], (CUT, REFUSED)))
CASES.append(Case("chunk_trailers_endless", "trailers without end", [OK + TYPE + CHUNKED + b"\r\n", chunk(GOOD), b"0\r\n" + b"X-A: b\r\n" * 5000], (CUT, REFUSED)))
passed("length_shorter_than_body", "what follows belongs to nobody: the connection is closed",
       OK + TYPE + LENGTH + b"\r\n" + GOOD + b"HTTP/1.1 200 OK\r\n\r\n", body=GOOD)
passed("another_answer_behind", "an answer that nobody asked for is never given to the next client",
       plain(GOOD) + plain(b'{"evil":1}'), body=GOOD, never=b"evil")
passed("another_answer_later", "the same in a packet of its own", plain(GOOD), plain(b'{"evil":1}'), body=GOOD, never=b"evil")
passed("trailers", "RFC 9110 §6.5.1: trailers are dropped", OK + TYPE + CHUNKED + b"\r\n" + chunk(GOOD) + b"0\r\nX-Evil: evil\r\n\r\n",
       body=GOOD, never=b"evil", reused=True)
passed("until_close", "RFC 9112 §6.3: an answer of no length ends with its connection", OK + TYPE + b"\r\n" + GOOD, closes=True, body=GOOD)
passed("http10", "RFC 9112 §9.3", b"HTTP/1.0 200 OK\r\n" + TYPE + LENGTH + b"\r\n" + GOOD, body=GOOD)
passed("connection_close", "RFC 9112 §9.6", OK + TYPE + LENGTH + b"Connection: close\r\n\r\n" + GOOD, body=GOOD)
passed("hop_by_hop", "RFC 9110 §7.6.1: what belongs to the connection stays there",
       OK + TYPE + LENGTH + b"Connection: X-Evil, keep-alive\r\nX-Evil: evil\r\nKeep-Alive: timeout=99\r\nProxy-Authenticate: evil\r\n"
       b"Trailer: evil\r\nUpgrade: evil\r\n\r\n" + GOOD, body=GOOD, never=b"evil", reused=True)
passed("cookies_and_origin", "an engine sets no cookies and opens no origins",
       OK + TYPE + LENGTH + b"Set-Cookie: evil=1\r\nAccess-Control-Allow-Origin: evil\r\nServer: evil\r\nX-Request-Id: evil\r\n\r\n" + GOOD,
       body=GOOD, never=b"evil", reused=True)
passed("one_byte_at_a_time", "cuts change nothing", *[plain(GOOD)[i:i + 1] for i in range(len(plain(GOOD)))], body=GOOD, reused=True)

# ---- statuses ----
refused("switching_protocols", "RFC 9110 §15.2.2: 101 unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + GOOD)
refused("interim_flood", "1xx without end", *[b"HTTP/1.1 102 Processing\r\n\r\n" * 50] * 4)
refused("interim_then_nothing", "1xx and the end", b"HTTP/1.1 100 Continue\r\n\r\n", closes=True)
refused("interim_with_garbage", "1xx and no HTTP", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nxxx\r\n\r\n")
passed("interim_few", "RFC 9110 §15.2: a client reads 1xx", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: evil\r\n\r\n" + plain(GOOD),
       body=GOOD, never=b"evil", reused=True)
for status in (b"300 Multiple Choices", b"301 Moved Permanently", b"302 Found", b"303 See Other", b"304 Not Modified", b"307 Temporary Redirect",
               b"308 Permanent Redirect"):
    refused("redirect_" + status[:3].decode(), "a redirect would carry prompt and key elsewhere",
            plain(b"" if status[:3] == b"304" else b"{}", status, b"Location: http://evil.example/\r\n"), never=b"evil")
passed("error_html", "an error that is no JSON is put into OpenAI's form", plain(b"<h1>evil</h1>", b"500 Oops", b"", b"text/html"), status=500)
passed("error_array", "JSON, but no error object", plain(b"[1]", b"400 Bad"), status=400)
passed("error_string", "JSON, but no error object", plain(b'"no"', b"422 No"), status=422)
passed("error_deep", "JSON that is too deep is text", plain(b"[" * 5000 + b"]" * 5000, b"400 Bad"), status=400)
passed("error_of_1_mib", "of a huge error only the beginning is kept", plain(b"x" * KIB * KIB, b"500 Oops", b"", b"text/plain"), status=500)
passed("error_bad_utf8", "bytes that are no text are no text", plain(b'{"error":"\xff\xfe"}', b"400 Bad"), status=400)

# ---- bodies of another kind ----
refused("gzip_unasked", "an answer that is compressed though nobody asked", plain(gzip.compress(GOOD), b"200 OK", b"Content-Encoding: gzip\r\n"))
refused("br_unasked", "the same", plain(GOOD, b"200 OK", b"Content-Encoding: br\r\n"))
refused("coding_list", "the same", plain(GOOD, b"200 OK", b"Content-Encoding: identity, gzip\r\n"))
refused("error_gzip", "the same with an error", plain(gzip.compress(GOOD), b"400 Bad", b"Content-Encoding: gzip\r\n"))
for name, kind in [("html", b"text/html"), ("text", b"text/plain; charset=utf-8"), ("octets", b"application/octet-stream"),
                   ("jsonp", b"application/jsonp"), ("json_like", b"application/json-seq"), ("xml", b"application/xml"),
                   ("events_like", b"text/event-streams"), ("form", b"multipart/form-data; boundary=a"), ("empty", b"")]:
    refused("type_" + name, "a chat's answer is JSON or a stream of events", plain(GOOD, kind=kind))
refused("type_missing", "the same", OK + LENGTH + b"\r\n" + GOOD)
passed("type_with_parameter", "RFC 9110 §8.3", plain(GOOD, kind=b"Application/JSON ; charset=utf-8"), body=GOOD, reused=True)

# ---- streams ----
EVENTS = b"Content-Type: text/event-stream\r\n"
STREAM = OK + EVENTS + CHUNKED + b"\r\n"


def event(text=None, finish=None, **more):
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                   "choices": [choice], **more}).encode() + b"\n\n"


A, B = event("first"), event("second")
FINISH = event(finish="stop")
DONE = b"data: [DONE]\n\n"


def stream(*events):
    return STREAM + b"".join(chunk(e) for e in events) + LAST


passed("stream", "a good one", stream(A, B, FINISH, DONE), stream=True, shows=("first", "second"), reused=True)
passed("stream_one_byte_at_a_time", "cuts change nothing", *[stream(A, B, FINISH, DONE)[i:i + 1] for i in range(len(stream(A, B, FINISH, DONE)))],
       stream=True, shows=("first", "second"), reused=True)
passed("stream_crlf", "WHATWG HTML §9.2: any line ends", stream(A.replace(b"\n", b"\r\n"), B.replace(b"\n", b"\r"), FINISH, DONE), stream=True,
       shows=("first", "second"), reused=True)
passed("stream_line_ends_in_text", "escaped line ends and marks are text", stream(event("\n\ndata: [DONE]\n\n"), FINISH, DONE), stream=True,
       shows=("\n\ndata: [DONE]\n\n",), reused=True)
passed("stream_goes_on_behind_done", "nothing follows [DONE]", stream(A, FINISH, DONE, event("evil"), DONE), stream=True, shows=("first",),
       never=b"evil", reused=True)
passed("stream_garbage_behind_done", "nothing follows [DONE]", stream(A, FINISH, DONE, b"data: evil\n\n", b"evil\n\n"), stream=True, shows=("first",),
       never=b"evil", reused=True)
passed("stream_done_twice", "one [DONE] is enough", stream(A, FINISH, DONE, DONE), stream=True, shows=("first",), reused=True)
passed("stream_cut_behind_the_finish", "nothing of the answer is missing", STREAM + chunk(A) + chunk(FINISH), stream=True, closes=True, shows=("first",))
broken("stream_done_without_finish", "a fake [DONE] does not make half an answer whole", stream(A, DONE), shows=("first",), reused=True)
refused("stream_only_done", "a fake [DONE] alone", stream(DONE), stream=True, reused=True)
refused("stream_empty", "no event at all", stream(), stream=True, reused=True)
refused("stream_no_json_first", "garbage before anything was shown", stream(b"data: evil\n\n", A, FINISH, DONE), stream=True, never=b"evil", reused=None)
refused("stream_giant_first", "an event without end before anything was shown", STREAM + b"ffffff\r\ndata: ", *[b"x" * KIB] * 200, stream=True)
broken("stream_done_first", "a fake [DONE] before the text", stream(DONE, A), shows=("first",), reused=True)
broken("stream_cut", "the connection closes", STREAM + chunk(A), closes=True, shows=("first",))
broken("stream_cut_inside_an_event", "the connection closes inside of an event", STREAM + chunk(A) + chunk(B[:20]), closes=True, shows=("first",))
broken("stream_cut_inside_a_chunk", "the connection closes inside of a chunk", STREAM + chunk(A) + b"40\r\n" + B[:9], closes=True, shows=("first",))
for name, bad in [
    ("no_json", b"data: evil\n\n"), ("half_json", b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"evil\n\n'),
    ("line_end_in_json", b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a\n\nb"}}]}\n\n'), ("array", b"data: [1]\n\n"),
    ("string", b'data: "evil"\n\n'), ("number", b"data: 1\n\n"), ("empty", b"data:\n\n"), ("done_with_blank", b"data:  [DONE]\n\n"),
    ("done_lower_case", b"data: [done]\n\n"), ("done_and_more", b"data: [DONE] evil\n\n"), ("done_in_quotes", b'data: "[DONE]"\n\n'),
    ("bad_utf8", b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n'),
    ("control", b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"\x01"}}]}\n\n'),
    ("nul", b"data: {}\x00\n\n"), ("two_values", b"data: {}{}\n\n"), ("trailing_comma", b'data: {"a":1,}\n\n'), ("nan", b'data: {"a":NaN}\n\n'),
    ("deep", b'data: {"a":' + b"[" * 3000 + b"]" * 3000 + b"}\n\n"), ("giant", b"data: " + b"x" * 80 * KIB + b"\n\n"),
    ("giant_without_end", b"data: " + b"x" * 200 * KIB), ("giant_comment", b":" + b"x" * 200 * KIB), ("giant_name", b"x" * 200 * KIB),
    ("lone_surrogate", b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"\\ud800"}}]}\n\n'),
]:
    broken("event_" + name, "an event that is no event of this protocol ends the stream", stream(A, bad, B, FINISH, DONE), shows=("first",), never=b"second", reused=None)
broken("stream_error_object", "the engine's own error is the last word", stream(A, b'data: {"error":{"message":"boom","type":"x","code":500}}\n\n', DONE),
       shows=("first",), reused=True)
CASES.append(Case("stream_bad_chunk", "framing that breaks in the middle", [STREAM, chunk(A), b"xyz\r\n" + B], (BROKEN, REFUSED), stream=True,
                  shows=("first",)))
refused("stream_that_is_html", "the client asked for events", plain(b"<html>evil</html>", kind=b"text/html"), stream=True, never=b"evil")
refused("stream_gzip", "compressed events", OK + EVENTS + CHUNKED + b"Content-Encoding: gzip\r\n\r\n" + chunk(gzip.compress(A)) + LAST, stream=True)
refused("stream_redirect", "a redirect instead of events", plain(b"", b"307 Go", b"Location: http://evil/\r\n"), stream=True, never=b"evil")
