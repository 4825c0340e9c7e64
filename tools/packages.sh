#!/bin/sh
# packages.sh build|engine|test|bench...: install what is missing of the system's packages.
#
#   build    a C compiler, make, libyaml, xxhash, OpenSSL, libseccomp, utf8proc, PCRE2, zlib,
#            Python
#   engine   + what libllama needs: CMake, Ninja, a C++ compiler
#   test     + cmocka, clang with its fuzzer, Node, valgrind, promtool
#   bench    + nginx and HAProxy
#   --list   only say what is missing
#
# Made for Debian 12 and 13 and Ubuntu 22.04 and 24.04. A thing that is there already, wherever it
# came from, is not installed again. Without apt, or without root and sudo, it says what to install.
set -eu

missing=
optional=
say() { printf 'packages: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

has_command() { command -v "$1" >/dev/null 2>&1; }
has_header() {
	for d in /usr/include /usr/local/include "/usr/include/$(uname -m)-linux-gnu"; do
		[ -f "$d/$1" ] && return 0
	done
	return 1
}
is_known() { has_command apt-cache && apt-cache show "$1" 2>/dev/null | grep -q '^Package:'; }

# first_known NAME...: the first that apt knows; the first of all when it knows none.
first_known() {
	for name in "$@"; do
		if is_known "$name"; then echo "$name"; return; fi
	done
	echo "$1"
}

# need NAME...: one of these packages is missing
need() { missing="$missing $(first_known "$@")"; }
# want NAME...: the same, and it is no error when it cannot be had
want() { optional="$optional $(first_known "$@")"; }

needs_build() {
	has_command gcc || need gcc
	has_header stdio.h || need libc6-dev
	has_command make || need make
	has_command pkg-config || need pkg-config pkgconf
	has_header yaml.h || need libyaml-dev
	has_header xxhash.h || need libxxhash-dev
	has_header openssl/ssl.h || need libssl-dev
	has_header seccomp.h || need libseccomp-dev
	has_header utf8proc.h || need libutf8proc-dev
	has_header pcre2.h || need libpcre2-dev
	has_header zlib.h || need zlib1g-dev
	has_command python3 || need python3
	python3 -m pip --version >/dev/null 2>&1 || need python3-pip
	python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || need python3-venv
	[ -e /etc/ssl/certs/ca-certificates.crt ] || need ca-certificates
	has_command git || need git
	has_command unzip || need unzip
}

needs_engine() {
	needs_build
	has_command g++ || need g++
	has_command cmake || need cmake
	has_command ninja || need ninja-build
}

# Any clang that can link a fuzzer will do; 14 is what the code is checked with.
has_fuzzer() {
	for c in clang-14 clang clang-19 clang-18 clang-17 clang-16 clang-15; do
		has_command "$c" || continue
		if echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return !d && n; }' |
			"$c" -x c -fsanitize=fuzzer,address,undefined -o /dev/null - 2>/dev/null; then
			return 0
		fi
	done
	return 1
}

needs_test() {
	needs_engine
	has_header cmocka.h || need libcmocka-dev
	if ! has_fuzzer; then
		clang=$(first_known clang-14 clang-18 clang-19 clang-17 clang-16 clang-15 clang)
		version=${clang#clang-}
		need "$clang"
		# Up to LLVM 13, and in Ubuntu 22.04, the runtime comes with clang itself.
		if is_known "libclang-rt-$version-dev"; then need "libclang-rt-$version-dev"; fi
	fi
	has_command curl || need curl
	has_command valgrind || want valgrind
	has_command node || want nodejs
	has_command npm || want npm
	# The package also starts a server where there is systemd; there promtool is left to the user.
	if ! has_command promtool; then
		if [ -d /run/systemd/system ]; then
			say "promtool is missing: its check will be skipped (it is in the package prometheus)"
		else
			want prometheus
		fi
	fi
}

needs_bench() {
	needs_build
	has_command nginx || [ -x /usr/sbin/nginx ] || want nginx-light nginx
	has_command haproxy || [ -x /usr/sbin/haproxy ] || want haproxy
	has_command valgrind || want valgrind
}

# apt NAME...: install, as root or with sudo
apt() {
	if [ "$(id -u)" -eq 0 ]; then
		DEBIAN_FRONTEND=noninteractive apt-get "$@"
	else
		sudo DEBIAN_FRONTEND=noninteractive apt-get "$@"
	fi
}

only_list=
groups=
for arg in "$@"; do
	case $arg in
		build | engine | test | bench) groups="$groups $arg" ;;
		--list) only_list=1 ;;
		*) sed -n '2,12s/^# \{0,1\}//p' "$0"; [ "$arg" = --help ] && exit 0; exit 2 ;;
	esac
done
[ -n "$groups" ] || die "which? build, engine, test or bench"

collect() {
	missing=; optional=
	for group in $groups; do "needs_$group"; done
	missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
	optional=$(printf '%s\n' $optional | sort -u | tr '\n' ' ')
}
collect
if [ -z "${missing% }${optional% }" ]; then exit 0; fi
if [ -n "$only_list" ]; then
	echo "$missing$optional"
	exit 0
fi
if ! has_command apt-get; then
	say "this system has no apt; please install what these Debian packages hold: $missing$optional"
	[ -z "${missing% }" ]
	exit
fi
if [ "$(id -u)" -ne 0 ] && ! has_command sudo; then
	say "not root and no sudo; as root: apt-get install $missing$optional"
	[ -z "${missing% }" ]
	exit
fi
say "installing $missing$optional"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt update >"$log" 2>&1 || say "apt-get update failed; going on with the lists that are there"
collect # with fresh lists other names may be known
if [ -n "${missing% }" ]; then
	# shellcheck disable=SC2086
	apt install -y --no-install-recommends $missing >"$log" 2>&1 ||
		{ tail -15 "$log" >&2; die "apt-get could not install: $missing"; }
fi
for name in $optional; do
	apt install -y --no-install-recommends "$name" >"$log" 2>&1 ||
		say "$name could not be installed: what needs it will be skipped"
done
