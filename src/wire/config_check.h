/*
 * config_check.h: the forms of texts in the configuration.
 *
 * For: the key table, which names one of these for each text. They look at the form only: whether
 * a host exists or a file can be read is found out by who opens it.
 * Threads: pure. Memory: none; sentences are static.
 * Errors: NULL when the text is good, else a sentence that says what is expected.
 */
#pragma once

#include "base/str.h"

typedef const char *config_check(struct bb_str text);

/* Where to listen: "127.0.0.1:8080" "[::1]:8080" ":8080" "localhost:8080" "unix:/run/busbar.sock"
 */
config_check config_check_address;
/* An engine: "http://HOST[:PORT][/base]" "https://…" "unix:/run/engine.sock" */
config_check config_check_url;
/* A model's name: 1 to 256 of A-Z a-z 0-9 . _ : / @ - */
config_check config_check_name;
/* The same or "*" */
config_check config_check_alias;
/* "*" or what a browser sends as Origin: "https://app.example" */
config_check config_check_origin;
/* Names of header fields with commas between them, or "*" */
config_check config_check_headers;
/* A path or "-"; not empty, no longer than PATH_MAX of Linux */
config_check config_check_path;
/* What can stand in an Authorization header, or nothing */
config_check config_check_secret;
/* A model's name in which "*" stands for any letters */
config_check config_check_name_pattern;
/* A tenant's name: 1 to 64 of A-Z a-z 0-9 . _ @ - */
config_check config_check_tenant;
/* A member of a JSON object: 1 to 128 of A-Z a-z 0-9 . _ : / - */
config_check config_check_member;
/* A host's name; with "*." before it the names below it */
config_check config_check_host;
config_check config_check_host_pattern;
/* Where public keys are: a path or an http:// or https:// URL */
config_check config_check_jwks;
/* "RS256" "ES256" "EdDSA" */
config_check config_check_algorithm;
/* 1 to 1024 bytes of visible ASCII */
config_check config_check_printable;
/* A ZeroMQ endpoint: "tcp://HOST:PORT" with a numeric HOST, localhost or *, or "ipc://PATH" */
config_check config_check_endpoint;
/* The same, or "auto", "off", "poll" */
config_check config_check_kv_events;
/* An account: 1 to 32 of A-Z a-z 0-9 . _ - */
config_check config_check_user;

/*
 * A URL that config_check_url found good, as busbar writes it: no slash at its end, no ":80"
 * (":443" with https), the host in small letters. `room` must hold url.len bytes. The result points
 * into it.
 */
struct bb_str config_url_normal(struct bb_str url, char *room);
