"""Hostile requests: what a client may send, and what must come of it.

Each case: its name, the reason (an RFC section or a class of attacks), the raw bytes, the answers that
must come (a status, or a tuple of allowed ones, each), whether the connection is closed behind them
and the bodies that the engine must have seen. Nothing else may come, and the engine may see nothing
else. The bytes are our own; RFC 9110 is HTTP's semantics, RFC 9112 is HTTP/1.1, RFC 8259 is JSON.
"""

import dataclasses

BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":1}'
N = len(BODY)
CHAT = b"/v1/chat/completions"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
KIB = 1024


@dataclasses.dataclass
class Case:
    name: str
    why: str
    raw: object           # bytes, or a list of pieces that are sent one after the other
    answers: tuple = ()
    closes: bool = True
    seen: tuple = ()      # bodies, in order
    never: tuple = ()     # what must not stand in the heads that the engine sees (lower case)
    message: str = ""     # a part of the error's message


CASES = []


def head(line=b"POST " + CHAT + b" HTTP/1.1", host=b"Host: x\r\n", fields=b""):
    return line + b"\r\n" + host + fields + b"\r\n"


def post(fields=b"", body=BODY, length=None, **more):
    """A request that is in order but for what is put into it."""
    size = b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return head(fields=b"Content-Type: application/json\r\n" + fields + size, **more) + body


def framed(fields, body=BODY, **more):
    """The same without a Content-Length of its own."""
    return head(fields=b"Content-Type: application/json\r\n" + fields, **more) + body


def chunked(body, fields=b"Transfer-Encoding: chunked\r\n", **more):
    return framed(fields, body, **more)


def chunk(data, size=None):
    return (size if size is not None else b"%x" % len(data)) + b"\r\n" + data + b"\r\n"


LAST = b"0\r\n\r\n"


def refuse(name, why, raw, status=400, message=""):
    """One answer, nothing for the engine, and the connection closes."""
    CASES.append(Case(name, why, raw, (status,), True, (), (), message))


def serve(name, why, raw, seen=(BODY,), answers=(200,), closes=False, never=()):
    CASES.append(Case(name, why, raw, answers, closes, seen, never))


def decline(name, why, raw, status):
    """An answer of the API itself: the request was understood, and the connection goes on."""
    CASES.append(Case(name, why, raw, (status,), False))


# ---- Content-Length ----
for name, value in [
    ("plus", b"+%d" % N), ("minus", b"-%d" % N), ("hexadecimal", b"0x%x" % N), ("inner_space", b"7 5"),
    ("list_of_equal", b"%d, %d" % (N, N)), ("list_of_different", b"%d, 3" % N), ("empty", b""),
    ("underscore", b"7_5"), ("float", b"%d.0" % N), ("exponent", b"75e0"), ("garbage", b"%da" % N),
    ("quoted", b'"%d"' % N), ("vertical_tab", b"\x0b%d" % N), ("nul", b"%d\x00" % N),
    ("fullwidth_digits", "７５".encode()), ("2_to_64", b"18446744073709551616"),
    ("2_to_64_and_real", b"%d" % (2 ** 64 + N)), ("thousand_digits", b"9" * 1000),
    ("semicolon", b"%d;a" % N), ("octal_prefix", b"0o113"), ("comma_end", b"%d," % N),
    ("lone_minus", b"-"), ("brackets", b"[%d]" % N), ("bare_cr", b"%d\r" % N),
]:
    refuse("length_" + name, "RFC 9112 §6.3, RFC 9110 §8.6: Content-Length is digits alone",
           framed(b"Content-Length: " + value + b"\r\n"))
refuse("length_twice_equal", "RFC 9112 §6.3: two lengths, smuggling through whoever takes the other",
       framed(b"Content-Length: %d\r\nContent-Length: %d\r\n" % (N, N)))
refuse("length_twice_different", "RFC 9112 §6.3: lengths that differ",
       framed(b"Content-Length: %d\r\nContent-Length: 3\r\n" % N))
refuse("length_zero_then_real", "RFC 9112 §6.3: the first of two",
       framed(b"Content-Length: 0\r\nContent-Length: %d\r\n" % N))
refuse("length_space_before_colon", "RFC 9112 §5.1: CL hidden from one of two parsers",
       framed(b"Content-Length : %d\r\n" % N))
refuse("length_tab_before_colon", "RFC 9112 §5.1", framed(b"Content-Length\t: %d\r\n" % N))
refuse("length_folded", "RFC 9112 §5.2: obs-fold before the number",
       framed(b"Content-Length:\r\n %d\r\n" % N))
refuse("length_over_limit", "a body larger than limits.body_size", framed(b"Content-Length: 999999999\r\n"),
       413)
refuse("length_2_to_63", "a length that overflows signed numbers",
       framed(b"Content-Length: 9223372036854775807\r\n"), 413)
refuse("length_2_to_64_less_1", "the largest length there is",
       framed(b"Content-Length: 18446744073709551615\r\n"), 413)
serve("length_with_blanks", "RFC 9112 §5.1: blanks around a value are no part of it",
      framed(b"Content-Length: \t %d \t \r\n" % N))
serve("length_leading_zeros", "RFC 9110 §8.6: 1*DIGIT", framed(b"Content-Length: 000%d\r\n" % N))
CASES.append(Case("length_zero_and_a_body", "RFC 9112 §6.3: what follows is another request, and no HTTP",
                  framed(b"Content-Length: 0\r\n"), (400, 400)))
CASES.append(Case("no_length_and_a_body", "RFC 9112 §6.3: no length means no body", framed(b""),
                  (400, 400)))

# ---- Transfer-Encoding ----
WHOLE = chunk(BODY) + LAST
for name, fields in [
    ("with_length", b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % N),
    ("before_length", b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n" % N),
    ("with_length_zero", b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
    ("xchunked", b"Transfer-Encoding: xchunked\r\n"),
    ("identity", b"Transfer-Encoding: identity\r\n"),
    ("chunked_identity", b"Transfer-Encoding: chunked, identity\r\n"),
    ("identity_chunked", b"Transfer-Encoding: identity, chunked\r\n"),
    ("gzip_chunked", b"Transfer-Encoding: gzip, chunked\r\n"),
    ("chunked_gzip", b"Transfer-Encoding: chunked, gzip\r\n"),
    ("chunked_chunked", b"Transfer-Encoding: chunked, chunked\r\n"),
    ("twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("twice_cow", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n"),
    ("cow_twice", b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n"),
    ("twice_identity", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
    ("empty", b"Transfer-Encoding:\r\n"),
    ("comma_first", b"Transfer-Encoding: ,chunked\r\n"),
    ("comma_last", b"Transfer-Encoding: chunked,\r\n"),
    ("quoted", b'Transfer-Encoding: "chunked"\r\n'),
    ("parameter", b"Transfer-Encoding: chunked;q=1\r\n"),
    ("vertical_tab", b"Transfer-Encoding: \x0bchunked\r\n"),
    ("form_feed", b"Transfer-Encoding: chunked\x0c\r\n"),
    ("nul", b"Transfer-Encoding: chunked\x00\r\n"),
    ("folded", b"Transfer-Encoding:\r\n chunked\r\n"),
    ("folded_tab", b"Transfer-Encoding: chunked\r\n\tx\r\n"),
    ("space_before_colon", b"Transfer-Encoding : chunked\r\n"),
    ("line_tab_before", b"\tTransfer-Encoding: chunked\r\n"),
    ("bare_cr_before", b"X: y\rTransfer-Encoding: chunked\r\n"),
    ("bare_lf_before", b"X: y\nTransfer-Encoding: chunked\r\n"),
    ("nonbreaking_space", b"Transfer-Encoding:\xa0chunked\r\n"),
    ("not_quite", b"Transfer-Encoding: chunke\r\n"),
    ("long_s", "Transfer-Encoding: chunKed\r\n".replace("K", "\u212a").encode()),
]:
    refuse("coding_" + name, "RFC 9112 §6.1, §6.3: one Transfer-Encoding, which is chunked, and no length",
           framed(fields, WHOLE))
refuse("coding_in_http10", "RFC 9112 §6.1: a coding in HTTP/1.0 is faulty framing",
       chunked(WHOLE, line=b"POST " + CHAT + b" HTTP/1.0"))
serve("coding_upper_case", "RFC 9110 §10.1.4: codings have no case",
      chunked(WHOLE, b"Transfer-Encoding: CHUNKED\r\n"))
serve("coding_blanks_before", "RFC 9112 §5.1: blanks around a value are no part of it",
      chunked(WHOLE, b"Transfer-Encoding: \t chunked\r\n"))
refuse("coding_blanks_behind", "stricter than RFC 9112 §5.1: others have read them as another coding",
       chunked(WHOLE, b"Transfer-Encoding: chunked \t\r\n"))
serve("coding_with_underscore", "a name that CGI would take for Transfer-Encoding does not pass",
      post(b"Transfer_Encoding: chunked\r\nContent_Length: 3\r\n"),
      never=(b"transfer_encoding", b"content_length"))

# ---- chunks ----
for name, body in [
    ("size_hexadecimal_prefix", chunk(BODY, b"0x%x" % N)), ("size_plus", chunk(BODY, b"+%x" % N)),
    ("size_minus", chunk(BODY, b"-%x" % N)), ("size_space_first", chunk(BODY, b" %x" % N)),
    ("size_space_last", chunk(BODY, b"%x " % N)), ("size_tab_last", chunk(BODY, b"%x\t" % N)),
    ("size_letter", chunk(BODY, b"g")), ("size_empty", chunk(BODY, b"")),
    ("size_underscore", chunk(BODY, b"4_b")), ("size_quoted", chunk(BODY, b'"4b"')),
    ("size_only_extension", chunk(BODY, b";a=b")), ("size_16_and_1_digits", chunk(BODY, b"f" * 17)),
    ("size_wraps_around", chunk(BODY, b"1000000000000004b")), ("size_bare_lf", b"%x\n" % N + BODY + b"\r\n"),
    ("size_bare_cr", b"%x\r" % N + BODY + b"\r\n"), ("size_nul", chunk(BODY, b"%x\x00" % N)),
    ("size_fullwidth", chunk(BODY, "４b".encode())),
    ("no_line_end_behind", b"%x\r\n" % N + BODY + LAST), ("bare_lf_behind", b"%x\r\n" % N + BODY + b"\n"),
    ("bare_cr_behind", b"%x\r\n" % N + BODY + b"\r0\r\n\r\n"),
    ("longer_than_said", chunk(BODY + b" ", b"%x" % N)),
    ("extension_bare_lf", b"%x;a\n" % N + BODY), ("extension_bare_cr", b"%x;a\rb\r\n" % N + BODY),
    ("extension_nul", b"%x;a\x00\r\n" % N + BODY), ("extension_endless", b"%x;" % N + b"a" * 40 * KIB),
    ("zeros_endless", b"0" * 40 * KIB + b"%x\r\n" % N), ("last_bare_lf", chunk(BODY) + b"0\n\n"),
    ("last_no_end", chunk(BODY) + b"0\r\nGET /health HTTP/1.1\r\n"),
    ("trailer_space_before_colon", chunk(BODY) + b"0\r\nX-A : b\r\n\r\n"),
    ("trailer_folded", chunk(BODY) + b"0\r\nX-A: b\r\n c\r\n\r\n"),
    ("trailer_control", chunk(BODY) + b"0\r\nX-A: \x01\r\n\r\n"),
    ("trailer_bare_lf", chunk(BODY) + b"0\r\nX-A: b\n\r\n"),
    ("trailer_no_name", chunk(BODY) + b"0\r\n: b\r\n\r\n"),
    ("trailers_endless", chunk(BODY) + b"0\r\n" + b"X-A: b\r\n" * 5000),
    ("trailer_huge", chunk(BODY) + b"0\r\nX-A: " + b"b" * 40 * KIB),
    ("extensions_everywhere", b"".join(b"1;%s\r\n%c\r\n" % (b"x" * 900, c) for c in BODY)),
]:
    refuse("chunk_" + name, "RFC 9112 §7.1: chunked bodies are what the grammar says and bounded",
           chunked(body))
refuse("chunk_over_limit", "limits.body_size holds for chunks", chunked(b"7fffffff\r\n" + b"x" * 3 * KIB * KIB),
       413)
serve("chunk_of_one_byte_each", "RFC 9112 §7.1: any sizes", chunked(b"".join(chunk(b"%c" % c) for c in BODY)
                                                                     + LAST))
serve("chunk_upper_case_size", "RFC 9112 §7.1: HEXDIG has no case", chunked(chunk(BODY, b"%X" % N) + LAST))
serve("chunk_leading_zeros", "RFC 9112 §7.1: 1*HEXDIG", chunked(chunk(BODY, b"000%x" % N) + b"000\r\n\r\n"))
serve("chunk_extension", "RFC 9112 §7.1.1: unknown extensions are ignored",
      chunked(chunk(BODY, b'%x;a=b;c="d e"' % N) + b"0;z\r\n\r\n"))
serve("trailers_dropped", "RFC 9110 §6.5.1: trailers are not merged into the head",
      chunked(chunk(BODY) + b"0\r\nX-Trailer: t\r\nAuthorization: Bearer b\r\n\r\n"),
      never=(b"x-trailer", b"bearer b"))
serve("trailer_with_host", "RFC 9110 §6.5.1: a trailer is no part of the head",
      chunked(chunk(BODY) + b"0\r\nHost: evil\r\nContent-Type: evil\r\n\r\n"), never=(b"evil",))
refuse("trailer_with_length", "RFC 9110 §6.5.1: no framing in trailers",
       chunked(chunk(BODY) + b"0\r\nContent-Length: 9\r\n\r\n"))
serve("chunks_in_pieces", "cuts at every place give the same",
      [chunked(WHOLE)[i:i + 1] for i in range(len(chunked(WHOLE)))])

# ---- more than one request ----
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: evil\r\n\r\n"
serve("pipelined", "RFC 9112 §9.3.2: answers in order", post() + HEALTH + post(),
      seen=(BODY, BODY), answers=(200, 200, 200))
serve("body_that_looks_like_a_request", "a body is a body",
      b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED, seen=())
refuse("classic_cl_te", "request smuggling CL.TE",
       framed(b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (5 + len(SMUGGLED)), LAST + SMUGGLED))
refuse("classic_te_cl", "request smuggling TE.CL",
       framed(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunk(SMUGGLED) + LAST))
refuse("classic_te_te", "request smuggling TE.TE",
       framed(b"Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\nContent-Length: 4\r\n", WHOLE + SMUGGLED))
refuse("nothing_is_read_behind_a_refusal", "RFC 9112 §9.6: close after a 400",
       framed(b"Content-Length: +1\r\n") + post() + post())
refuse("refused_head_with_pipelined_good_ones", "close after a 400", head(host=b"") + post() + HEALTH)
CASES.append(Case("good_then_bad", "the good one is served first", post() + b"BAD\r\n\r\n", (200, 400), True,
                  (BODY,)))
refuse("length_zero_smuggle", "CL.0: the engine must not see what follows",
       framed(b"Content-Length: 0\r\nTransfer-Encoding: identity\r\n", SMUGGLED))

# ---- Host ----
for name, host in [
    ("missing", b""), ("twice_equal", b"Host: x\r\nHost: x\r\n"), ("twice_different", b"Host: x\r\nHost: y\r\n"),
    ("twice_in_other_case", b"Host: x\r\nHOST: y\r\n"), ("with_space", b"Host: a b\r\n"),
    ("with_comma", b"Host: a,b\r\n"), ("with_user", b"Host: user@x\r\n"), ("with_path", b"Host: x/y\r\n"),
    ("with_query", b"Host: x?y\r\n"), ("with_fragment", b"Host: x#y\r\n"), ("with_tab", b"Host: x\ty\r\n"),
    ("with_scheme", b"Host: http://x\r\n"), ("with_backslash", b"Host: x\\y\r\n"),
    ("with_angle", b"Host: <x>\r\n"), ("with_quote", b'Host: "x"\r\n'), ("non_ascii", "Host: é\r\n".encode()),
    ("bad_port", b"Host: x:8a\r\n"), ("two_ports", b"Host: x:80:80\r\n"), ("folded", b"Host: x\r\n y\r\n"),
    ("open_bracket", b"Host: [::1\r\n"), ("space_before_colon", b"Host : x\r\n"), ("nul", b"Host: x\x00\r\n"),
    ("long", b"Host: " + b"x" * 300 + b"\r\n"),
]:
    refuse("host_" + name, "RFC 9112 §3.2, RFC 9110 §7.2: exactly one Host, and a host it is",
           post(host=host))
serve("host_empty", "RFC 9110 §7.2: empty where there is no authority", post(host=b"Host:\r\n"))
serve("host_v6", "RFC 3986 §3.2.2", post(host=b"Host: [::1]:8080\r\n"))
serve("host_missing_in_http10", "RFC 9112 §3.2: HTTP/1.0 had none",
      post(host=b"", line=b"POST " + CHAT + b" HTTP/1.0"), closes=True)

# ---- target ----
def target(t, method=b"POST", version=b"HTTP/1.1", **more):
    return post(line=method + b" " + t + b" " + version, **more)


for name, t, status in [
    ("absolute_of_another_host", b"http://evil" + CHAT, 400),
    ("absolute_without_host", b"http://" + CHAT, 400),
    ("absolute_with_user", b"http://u@x" + CHAT, 400), ("absolute_ftp", b"ftp://x" + CHAT, 400),
    ("absolute_other_port", b"http://x:81" + CHAT, 400), ("asterisk", b"*", 400),
    ("authority", b"x:80", 400), ("without_slash", CHAT[1:], 400), ("fragment", CHAT + b"#a", 400),
    ("space", CHAT + b" x", 400), ("tab", CHAT + b"\tx", 400), ("nul", CHAT + b"\x00", 400),
    ("control", CHAT + b"\x01", 400), ("del", CHAT + b"\x7f", 400), ("utf8", CHAT + "é".encode(), 400),
    ("latin1", CHAT + b"?a=\xe9", 400), ("quote", CHAT + b'?a="', 400), ("angle", CHAT + b"?a=<b>", 400),
    ("backslash", b"/v1\\chat", 400), ("caret", CHAT + b"?^", 400), ("brace", CHAT + b"?{a}", 400),
    ("pipe", CHAT + b"?a|b", 400), ("backquote", CHAT + b"?`", 400),
    ("9000_bytes", CHAT + b"?" + b"a" * 9000, 414), ("40000_bytes", CHAT + b"?" + b"a" * 40000, 414),
]:
    refuse("target_" + name, "RFC 9112 §3.2, RFC 3986: origin-form, and only what an URI may hold",
           target(t), status)
for name, t in [("dot_dot", b"/v1/../v1/chat/completions"), ("double_slash", b"/" + CHAT),
                ("encoded_slash", b"/v1%2fchat%2fcompletions"), ("trailing_slash", CHAT + b"/"),
                ("parameter", CHAT + b";a=b"), ("upper_case", CHAT.upper()), ("admin", b"/admin/status"),
                ("engine_sleep", b"/sleep"), ("engine_metrics", b"/metrics"), ("lora", b"/v1/load_lora_adapter"),
                ("server_info", b"/server_info"), ("dot", b"/v1/./chat/completions"),
                ("percent_alone", CHAT + b"%"), ("percent_bad", CHAT + b"%zz"), ("percent_nul", CHAT + b"%00"),
                ("percent_crlf", CHAT + b"%0d%0aX-A:b")]:
    decline("path_" + name, "only the paths of the table are the API; nothing is normalised", target(t), 404)
serve("target_absolute", "RFC 9112 §3.2.2: absolute-form of the same host", target(b"http://x" + CHAT),
      never=(b"http://x",))
serve("target_query", "the query passes", target(CHAT + b"?a=b%20c&d=%C3%A9"))
serve("target_long_query", "under limits.url", target(CHAT + b"?" + b"a" * 8000))
decline("options_asterisk", "RFC 9112 §3.2.4", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (200, 204, 404, 405))

# ---- request line ----
for name, line in [
    ("lower_case_method", b"post " + CHAT + b" HTTP/1.1"), ("mixed_case_method", b"PoST " + CHAT + b" HTTP/1.1"),
    ("unknown_method", b"FROB " + CHAT + b" HTTP/1.1"), ("long_method", b"A" * 300 + b" " + CHAT + b" HTTP/1.1"),
    ("method_with_nul", b"PO\x00ST " + CHAT + b" HTTP/1.1"), ("method_with_slash", b"PO/ST " + CHAT + b" HTTP/1.1"),
    ("no_method", b" " + CHAT + b" HTTP/1.1"), ("connect", b"CONNECT x:80 HTTP/1.1"),
    ("connect_path", b"CONNECT / HTTP/1.1"), ("preface", b"PRI * HTTP/2.0"),
    ("http09", b"GET /health"), ("http09_said", b"GET /health HTTP/0.9"), ("http12", b"GET /health HTTP/1.2"),
    ("http20", b"GET /health HTTP/2.0"), ("http2", b"GET /health HTTP/2"), ("http30", b"GET /health HTTP/3.0"),
    ("version_letter", b"GET /health HTTP/1.x"), ("version_long", b"GET /health HTTP/1.10"),
    ("version_zero", b"GET /health HTTP/01.1"), ("version_short", b"GET /health HTTP/1"),
    ("version_comma", b"GET /health HTTP/1,1"), ("version_lower", b"GET /health http/1.1"),
    ("version_plus", b"GET /health HTTP/+1.1"), ("version_tail", b"GET /health HTTP/1.1 x"),
    ("version_space", b"GET /health HTTP/1.1 "), ("version_space_inside", b"GET /health HTTP/ 1.1"),
    ("rtsp", b"GET /health RTSP/1.0"), ("rtsp_method", b"DESCRIBE /health RTSP/1.0"),
    ("ice", b"SOURCE /health ICE/1.0"), ("icy", b"GET /health ICY/1.0"), ("two_spaces", b"GET  /health HTTP/1.1"),
    ("two_spaces_behind", b"GET /health  HTTP/1.1"), ("tab", b"GET\t/health HTTP/1.1"),
    ("tab_behind", b"GET /health\tHTTP/1.1"), ("form_feed", b"GET\x0c/health HTTP/1.1"),
    ("bare_cr_inside", b"GET /health\rHTTP/1.1"), ("two_crs", b"GET /health HTTP/1.1\r"),
    ("nothing_but_method", b"GET"), ("smtp", b"EHLO evil"), ("ssh", b"SSH-2.0-OpenSSH_9.2"),
    ("proxy_protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2"), ("redis", b"*1"), ("json", BODY),
    ("byte_order_mark", b"\xef\xbb\xbfGET /health HTTP/1.1"), ("url_in_method", b"http://x/ GET HTTP/1.1"),
]:
    refuse("line_" + name, "RFC 9112 §3: method SP target SP HTTP/1.1 CRLF", head(line))
refuse("line_bare_lf", "RFC 9112 §2.2: CRLF, not LF", b"GET /health HTTP/1.1\nHost: x\r\n\r\n")
refuse("all_bare_lf", "RFC 9112 §2.2: CRLF, not LF", b"GET /health HTTP/1.1\nHost: x\n\n")
refuse("http2_preface", "RFC 9113 §3.4: no HTTP/2 here", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9)
refuse("tls_hello", "TLS to a plain port",
       b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\x00" * 64)
refuse("proxy_protocol_2", "a header that nobody asked for",
       b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\x01" * 12)
refuse("zeros", "binary noise", b"\x00" * 1000)
refuse("noise", "binary noise", bytes((i * 167 + 13) & 0xff | 0x80 for i in range(2000)))
serve("blank_lines_before", "RFC 9112 §2.2: at least one empty line is ignored", b"\r\n\r\n" + post())
serve("http10_keeps_nothing", "RFC 9112 §9.3: HTTP/1.0 closes unless asked",
      target(CHAT, version=b"HTTP/1.0"), closes=True)

# ---- fields ----
for name, fields in [
    ("no_name", b": x\r\n"), ("no_colon", b"garbage\r\n"), ("space_before_colon", b"X-A : b\r\n"),
    ("space_in_name", b"X A: b\r\n"), ("tab_in_name", b"X\tA: b\r\n"), ("control_in_name", b"X\x01A: b\r\n"),
    ("nul_in_name", b"X\x00A: b\r\n"), ("del_in_name", b"X\x7fA: b\r\n"), ("utf8_in_name", "Xé: b\r\n".encode()),
    ("parenthesis_in_name", b"(x): b\r\n"), ("at_in_name", b"x@y: b\r\n"), ("slash_in_name", b"x/y: b\r\n"),
    ("quote_in_name", b'"x": b\r\n'), ("bracket_in_name", b"[x]: b\r\n"), ("folded", b"X-A: b\r\n c\r\n"),
    ("folded_tab", b"X-A: b\r\n\tc\r\n"), ("folded_blank", b"X-A: b\r\n \r\n"),
    ("first_line_folded", b" X-A: b\r\n"), ("bare_cr", b"X-A: b\rc\r\n"), ("bare_lf", b"X-A: b\nX-B: c\r\n"),
    ("cr_cr_lf", b"X-A: b\r\r\n"), ("lf_cr", b"X-A: b\n\r\n"), ("nul_in_value", b"X-A: \x00\r\n"),
    ("nul_last", b"X-A: b\x00\r\n"), ("control_in_value", b"X-A: \x01\r\n"), ("escape_in_value", b"X-A: \x1b[2J\r\n"),
    ("del_in_value", b"X-A: \x7f\r\n"), ("backspace_in_value", b"X-A: a\x08b\r\n"),
    ("two_content_types", b"Content-Type: text/plain\r\n"),
    ("two_authorizations", b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
    ("two_api_keys", b"x-api-key: a\r\nX-Api-Key: b\r\n"),
    ("two_expects", b"Expect: 100-continue\r\nExpect: 100-continue\r\n"),
    ("crlf_lookalike", "X-A: b\u010d\u010aX: y\r\n".encode("utf-8").replace(b"\xc4\x8d\xc4\x8a", b"\r\xc4\x8a")),
]:
    refuse("field_" + name, "RFC 9110 §5.5, RFC 9112 §5: names are tokens, values hold no controls",
           post(fields))
for name, fields in [
    ("101_fields", b"X-A: b\r\n" * 100), ("5000_fields", b"a:\r\n" * 5000), ("value_of_40_kib", b"X-A: " + b"b" * 40 * KIB + b"\r\n"),
    ("name_of_40_kib", b"b" * 40 * KIB + b": a\r\n"), ("head_of_33_kib", b"X-A: %s\r\n" % (b"b" * 1000) * 33),
    ("head_of_2_mib", b"X-A: " + b"b" * 2 * KIB * KIB + b"\r\n"),
]:
    refuse("field_" + name, "limits: 100 fields, 32 KiB of head", post(fields), 431)
refuse("expect_other", "RFC 9110 §10.1.1", post(b"Expect: 200-ok\r\n"), 417)
refuse("expect_list", "RFC 9110 §10.1.1", post(b"Expect: 100-continue, x\r\n"), 417)
CASES.append(Case("expect_continue", "RFC 9110 §10.1.1: 100 before the body, once",
                  [post(b"Expect: 100-continue\r\n")[:-N], BODY], (100, 200), False, (BODY,), (b"expect",)))
refuse("expect_and_too_large", "RFC 9110 §10.1.1: the final status without a 100",
       framed(b"Expect: 100-continue\r\nContent-Length: 999999999\r\n", b""), 413)
serve("95_fields", "under the limit", post(b"".join(b"X-%d: b\r\n" % i for i in range(95))))
serve("field_obs_text", "RFC 9110 §5.5: obs-text is opaque", post(b"X-A: \xe9\xff\r\n"))
serve("field_empty_value", "RFC 9110 §5.5", post(b"X-A:\r\nX-B: \t\r\n"))
serve("field_hop_by_hop", "RFC 9110 §7.6.1: what belongs to one connection stays there",
      post(b"Connection: x-hop, keep-alive\r\nX-Hop: a\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
           b"Proxy-Connection: a\r\nProxy-Authorization: b\r\nTrailer: x\r\n"),
      never=(b"x-hop", b"keep-alive:", b"te:", b"proxy-", b"trailer"))
serve("field_connection_twice", "RFC 9110 §7.6.1: every Connection field counts",
      post(b"Connection: keep-alive\r\nConnection: x-hop\r\nX-Hop: a\r\n"), never=(b"x-hop",))
serve("connection_names_the_length", "RFC 9110 §7.6.1: framing cannot be stripped",
      post(b"Connection: content-length, host\r\n"))
serve("connection_close", "RFC 9112 §9.6", post(b"Connection: close\r\n") + HEALTH, closes=True)
serve("upgrade_h2c", "RFC 9110 §7.8: an offer may be ignored, and goes no further",
      post(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
      never=(b"upgrade", b"http2"))
serve("upgrade_websocket", "RFC 9110 §7.8",
      b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      b"Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n", seen=())
serve("method_override", "nobody changes a method by a field",
      post(b"X-HTTP-Method-Override: GET\r\n"))
serve("forwarded_fields", "fields that name a target name none",
      post(b"X-Forwarded-Host: evil\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n"
           b"X-Api-Base: http://evil\r\n"))
decline("trace", "TRACE would repeat keys", b"TRACE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", (404, 405, 501))
decline("content_encoding_gzip", "no decompression, no bomb",
        post(b"Content-Encoding: gzip\r\n", b"\x1f\x8b\x08\x00" + b"\x00" * 20), 415)
decline("content_encoding_list", "no decompression, no bomb", post(b"Content-Encoding: identity, br\r\n"), 415)
serve("content_encoding_identity", "RFC 9110 §8.4.1", post(b"Content-Encoding: identity\r\n"))


# ---- JSON ----
def body_of(text):
    return post(body=text if isinstance(text, bytes) else text.encode())


def member(text):
    """The good body and one more member."""
    text = text if isinstance(text, bytes) else text.encode()
    return BODY[:-1] + b"," + text + b"}"


for name, text in [
    ("cut", BODY[:-1]), ("two_values", BODY + BODY), ("garbage_behind", BODY + b"x"), ("comma_behind", BODY + b","),
    ("nul_behind", BODY + b"\x00"), ("byte_order_mark", b"\xef\xbb\xbf" + BODY), ("utf16", b"\xff\xfe" + BODY.decode().encode("utf-16-le")),
    ("utf16_without_mark", BODY.decode().encode("utf-16-le")), ("array", b"[" + BODY + b"]"), ("string", b'"m"'),
    ("null", b"null"), ("number", b"1"), ("blank", b"  "), ("nan", member('"a":NaN')), ("infinity", member('"a":Infinity')),
    ("minus_infinity", member('"a":-Infinity')), ("plus_number", member('"a":+1')), ("leading_zero", member('"a":01')),
    ("dot_first", member('"a":.5')), ("dot_last", member('"a":5.')), ("hexadecimal", member('"a":0x1')),
    ("exponent_empty", member('"a":1e')), ("minus_alone", member('"a":-')), ("single_quotes", member("'a':1")),
    ("bare_name", member("a:1")), ("comment", member('"a":1/* */')), ("line_comment", member('"a":1//\n')),
    ("trailing_comma", BODY[:-1] + b",}"), ("trailing_comma_in_array", member('"a":[1,]')), ("no_colon", member('"a" 1')),
    ("two_colons", member('"a"::1')), ("undefined", member('"a":undefined')), ("true_upper_case", member('"a":True')),
    ("control_in_string", member(b'"a":"\x01"')), ("line_end_in_string", member(b'"a":"\n"')),
    ("nul_in_string", member(b'"a":"\x00"')), ("bad_escape", member('"a":"\\x41"')), ("short_escape", member('"a":"\\u12"')),
    ("lone_high_surrogate", member('"a":"\\ud800"')), ("lone_low_surrogate", member('"a":"\\udc00"')),
    ("surrogates_swapped", member('"a":"\\udc00\\ud800"')), ("high_then_letter", member('"a":"\\ud800x"')),
    ("utf8_overlong", member(b'"a":"\xc0\xaf"')), ("utf8_surrogate", member(b'"a":"\xed\xa0\x80"')),
    ("utf8_too_high", member(b'"a":"\xf4\x90\x80\x80"')), ("utf8_cut", member(b'"a":"\xe2\x82"')),
    ("utf8_continuation", member(b'"a":"\x80"')), ("latin1", member(b'"a":"\xe9"')),
    ("unclosed_string", member('"a":"')), ("mismatched", member('"a":[}')), ("deep_arrays", member(b'"a":' + b"[" * 100000)),
    ("deep_closed", member(b'"a":' + b"[" * 100 + b"]" * 100)),
    ("deep_objects", member(b'"a":' + b'{"a":' * 20000 + b"1" + b"}" * 20000)),
    ("model_twice", BODY[:-1] + b',"model":"other"}'), ("model_twice_escaped", BODY[:-1] + b',"mod\\u0065l":"other"}'),
    ("messages_twice", member('"messages":[]')), ("stream_twice", member('"stream":true,"stream":false')),
    ("model_number", BODY.replace(b'"m"', b"7")), ("model_empty", BODY.replace(b'"m"', b'""')),
    ("model_null", BODY.replace(b'"m"', b"null")), ("stream_text", member('"stream":"yes"')),
    ("max_tokens_negative", BODY.replace(b'tokens":1', b'tokens":-2')),
    ("max_tokens_fraction", BODY.replace(b'tokens":1', b'tokens":1.5')),
    ("max_tokens_text", BODY.replace(b'tokens":1', b'tokens":"1"')),
    ("messages_text", b'{"model":"m","messages":"x"}'), ("messages_missing", b'{"model":"m"}'),
]:
    decline("json_" + name, "RFC 8259, and one meaning for members that decide something", body_of(text), 400)
decline("json_model_with_controls", "a model's name is a name", body_of(BODY.replace(b'"m"', b'"m\\u0000\\r\\nX: y"')),
        (400, 404))
decline("json_model_of_100_kib", "a model's name is short", body_of(BODY.replace(b'"m"', b'"' + b"m" * 100 * KIB + b'"')),
        (400, 404))
decline("json_model_is_a_path", "names name no files", body_of(BODY.replace(b'"m"', b'"../../etc/passwd"')), 404)
decline("json_model_is_an_url", "targets never come from a request", body_of(BODY.replace(b'"m"', b'"http://evil/m"')),
        404)
for name, text in [
    ("big_number", member('"a":1e400')), ("long_number", member('"a":' + "9" * 400)), ("unknown_twice", member('"a":1,"a":2')),
    ("escaped_pair", member('"a":"\\ud83d\\ude00"')), ("blanks", b" \t\r\n" + BODY + b" \r\n"), ("64_deep", member(b'"a":' + b"[" * 60 + b"]" * 60)),
    ("utf8", member('"a":"é€😀"')), ("del", member(b'"a":"\x7f"')), ("separator", member('"a":"\u2028"')),
    ("api_base", member('"base_url":"http://evil","api_base":"http://evil"')),
]:
    serve("json_" + name, "RFC 8259: well-formed, so it passes as it came", body_of(text), seen=(text,))
