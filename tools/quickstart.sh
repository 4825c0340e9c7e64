#!/bin/sh
# quickstart.sh: from a fresh clone to an answer, on this machine, without a GPU.
#
#   --check        send one question, print the answer, stop everything, exit 0
#   --no-install   install no packages (it is an error then when some are missing)
#   --port PORT    where the gateway listens (default 8080)
#   --admin PORT   its metrics and status (default 8081)
#   --ctx TOKENS   context of each engine (default 4096)
#   --help
#
# It installs build tools if they are missing, builds busbar and busbar-engine, fetches a small
# language model (SmolLM2-135M, 98 MB), starts two engines and a gateway before them, and asks a
# question. The first time takes some minutes, mostly for libllama; the second some seconds.
# Sources and the model are kept in $BUSBAR_CACHE, else ~/.cache/busbar. Ctrl-C stops everything.
set -eu

cd "$(dirname "$0")/.."
cache=${BUSBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/busbar}
logs=build/quickstart
model=           # the path of its file
port=8080; admin=8081; ctx=4096; check=; install=1
children=        # process groups, the newest first

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
die() { printf '\nquickstart: error: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '2,14s/^# \{0,1\}//p' "$0"; }

while [ $# -gt 0 ]; do
	case $1 in
		--check) check=1 ;;
		--no-install) install= ;;
		--port | --admin | --ctx)
			case ${2:-} in
				'' | *[!0-9]*) die "$1 wants a number" ;;
			esac
			case $1 in --port) port=$2 ;; --admin) admin=$2 ;; --ctx) ctx=$2 ;; esac
			shift ;;
		-h | --help) usage; exit 0 ;;
		*) usage >&2; exit 2 ;;
	esac
	shift
done

# ---- children: each in a process group of its own, so that none is left behind ----

# spawn LOG COMMAND...: in the background; its group is $last
spawn() {
	log=$1; shift
	setsid "$@" >"$log" 2>&1 </dev/null &
	last=$!
	children="$last $children"
}
is_alive() { kill -0 "$1" 2>/dev/null; }
stop_children() {
	for group in $children; do kill -s TERM -- "-$group" 2>/dev/null || true; done
	for group in $children; do
		tries=0
		while kill -s 0 -- "-$group" 2>/dev/null && [ $tries -lt 100 ]; do
			sleep 0.1
			tries=$((tries + 1))
		done
		kill -s KILL -- "-$group" 2>/dev/null || true
		wait "$group" 2>/dev/null || true
	done
	children=
}
on_exit() {
	code=$?
	trap - EXIT
	trap '' INT TERM HUP
	stop_children
	exit $code
}
trap on_exit EXIT
trap 'say ""; say "stopping"; exit 130' INT
trap 'exit 143' TERM HUP

# run_shown LOG COMMAND...: run it to its end; meanwhile the last line of its log is shown
run_shown() {
	log=$1
	begin=$(date +%s)
	spawn "$@"
	shown=$begin
	while is_alive "$last"; do
		sleep 0.5
		now=$(date +%s)
		line=$(tail -c 400 "$log" | tr '\r' '\n' | sed '/^ *$/d' | tail -1 |
			sed 's/.* -o \([^ ]*\).*/\1/' | cut -c 1-68)
		if [ -t 1 ]; then
			printf '\r\033[K   %3d s  %s' $((now - begin)) "$line"
		elif [ $((now - shown)) -ge 20 ]; then
			shown=$now
			printf '   %3d s  %s\n' $((now - begin)) "$line"
		fi
	done
	if [ -t 1 ]; then printf '\r\033[K'; fi
	rc=0
	wait "$last" || rc=$?
	children=${children#"$last "}
	if [ $rc -ne 0 ]; then
		tail -25 "$log" >&2
		return $rc
	fi
	say "   done in $(($(date +%s) - begin)) s"
}

# ---- steps ----

is_port_free() {
	python3 - "$1" <<-'PY'
	import socket, sys
	s = socket.socket()
	s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	try:
	    s.bind(("127.0.0.1", int(sys.argv[1])))
	except (OSError, OverflowError):
	    sys.exit(1)
	PY
}

install_packages() {
	step "1/5 packages"
	missing=$(sh tools/packages.sh --list engine)
	if [ -z "$missing" ]; then
		say "   everything is there"
	elif [ -n "$install" ]; then
		sh tools/packages.sh engine || die "packages are missing, see above"
	else
		die "missing: $missing(install them, or leave out --no-install)"
	fi
}

check_ports() {
	for p in "$port" "$admin"; do
		if ! is_port_free "$p"; then
			die "port $p of 127.0.0.1 is in use (or not allowed). Either stop what listens there
  (see: ss -ltnp 'sport = :$p') or choose others: sh tools/quickstart.sh --port 9080 --admin 9081"
		fi
	done
	if [ "$port" = "$admin" ]; then die "--port and --admin must differ"; fi
}

build() {
	step "2/5 build (log: $logs/build.log)"
	if [ ! -d "$cache/src" ] || ! ls "$cache"/llama-cpp-*/done >/dev/null 2>&1; then
		say "   the first time: sources are fetched and libllama is built, about 4 minutes on two cores"
	fi
	run_shown $logs/build.log make -j"$(nproc)" all || die "the build failed, see $logs/build.log"
}

fetch_model() {
	step "3/5 model (SmolLM2-135M-Instruct, 98 MB, Apache-2.0)"
	run_shown $logs/model.log sh -c 'sh tools/model.sh >"$1"' sh $logs/model.path ||
		die "there is no model, see $logs/model.log"
	model=$(cat $logs/model.path)
	say "   $model"
}

# wait_line LOG PATTERN GROUP NAME: the first line of the log that matches, when it has come
wait_line() {
	tries=0
	until grep -m 1 "$2" "$1" 2>/dev/null; do
		if ! is_alive "$3"; then tail -15 "$1" >&2; die "$4 ended at once, see $1"; fi
		tries=$((tries + 1))
		if [ $tries -gt 600 ]; then die "$4 does not start, see $1"; fi
		sleep 0.1
	done
}

# wait_http URL GROUP NAME LOG: until it answers 200
wait_http() {
	python3 - "$@" <<-'PY' || die "$3 does not get ready, see $4"
	import os, sys, time, urllib.error, urllib.request
	url, group = sys.argv[1], int(sys.argv[2])
	for _ in range(1200):
	    try:
	        with urllib.request.urlopen(url, timeout=5) as answer:
	            if answer.status == 200:
	                sys.exit(0)
	    except (OSError, urllib.error.URLError):
	        pass
	    try:
	        os.kill(group, 0)
	    except OSError:
	        sys.exit(1)
	    time.sleep(0.1)
	sys.exit(1)
	PY
}

start() {
	step "4/5 two engines and the gateway"
	engines=; groups=
	for n in 1 2; do
		spawn "$logs/engine-$n.log" build/busbar-engine "$model" --listen 127.0.0.1:0 \
			--ctx "$ctx" --parallel 4 --threads 1 --name smollm2
		groups="$groups $last"
	done
	n=0
	for group in $groups; do
		n=$((n + 1))
		line=$(wait_line $logs/engine-$n.log 'listening on http://' "$group" "engine $n")
		url=$(printf '%s' "$line" | sed 's/.*listening on \(http:[^" ]*\).*/\1/')
		wait_http "$url/health" "$group" "engine $n" $logs/engine-$n.log
		say "   engine $n   $url   (log: $logs/engine-$n.log)"
		engines="$engines --engine $url"
	done
	# shellcheck disable=SC2086
	spawn $logs/gateway.log build/busbar serve --listen 127.0.0.1:"$port" \
		--admin 127.0.0.1:"$admin" --access-log $logs/access.log $engines
	gateway=$last
	wait_http "http://127.0.0.1:$admin/readyz" "$gateway" "the gateway" $logs/gateway.log
	say "   gateway    http://127.0.0.1:$port   (log: $logs/gateway.log, requests: $logs/access.log)"
}

ask() {
	step "5/5 a question"
	python3 - "http://127.0.0.1:$port/v1/chat/completions" <<-'PY' || die "the chat failed, see $logs/gateway.log"
	import json, sys, time, urllib.error, urllib.request
	question = "Tell me the capital of France."
	body = {"model": "smollm2", "max_tokens": 48, "temperature": 0,
	        "messages": [{"role": "user", "content": question}]}
	request = urllib.request.Request(sys.argv[1], json.dumps(body).encode(),
	                                 {"Content-Type": "application/json"})
	begin = time.monotonic()
	try:
	    with urllib.request.urlopen(request, timeout=120) as answer:
	        chat = json.load(answer)
	except urllib.error.HTTPError as e:
	    sys.exit(f"{e.code}: {e.read().decode(errors='replace')}")
	except OSError as e:
	    sys.exit(str(e))
	text = chat["choices"][0]["message"]["content"].strip()
	print("   you:   ", question)
	print("   model: ", text)
	print("          ", chat["usage"]["completion_tokens"], "tokens in",
	      round(time.monotonic() - begin, 1), "s")
	sys.exit(0 if text else "the answer is empty")
	PY
}

farewell() {
	step "busbar status"
	build/busbar status --admin 127.0.0.1:"$admin" || die "busbar status failed"
	cat <<-TEXT

	== yours now
	curl http://127.0.0.1:$port/v1/chat/completions -H 'Content-Type: application/json' \\
	    -d '{"model": "smollm2", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'

	from openai import OpenAI                       # pip install openai, in a virtual environment
	client = OpenAI(base_url="http://127.0.0.1:$port/v1", api_key="none")
	chat = client.chat.completions.create(model="smollm2",
	    messages=[{"role": "user", "content": "Tell me the capital of France."}])
	print(chat.choices[0].message.content)

	build/busbar status --admin 127.0.0.1:$admin         engines, models, load
	curl http://127.0.0.1:$admin/metrics                 Prometheus metrics
	tail -f $logs/access.log             one line a request
	TEXT
}

mkdir -p $logs
install_packages
check_ports
build
fetch_model
start
ask
farewell
if [ -n "$check" ]; then
	say ""
	say "quickstart: ok"
	exit 0
fi
say ""
say "Ctrl-C stops the engines and the gateway."
while :; do
	for group in $children; do
		if ! is_alive "$group"; then die "one of the processes ended, see the logs in $logs"; fi
	done
	sleep 1
done
