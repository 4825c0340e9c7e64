#!/bin/sh
# deps.sh [llama]: fetch the C sources that no Debian package carries, once, into the cache.
#
#   llhttp  HTTP/1.1 parser   from the Python source package httptools   (MIT)
#   yyjson  JSON trees        from the Python source package yyjson      (MIT)
#   llama   libllama          from the Python source package llama-cpp-python (MIT), built static
#
# The cache is $BUSBAR_CACHE, else $XDG_CACHE_HOME/busbar, else ~/.cache/busbar: it lies outside
# the build folder, so that `make clean` does not cost two minutes of libllama again.
# Each file is checked against a pinned SHA-256. Nothing is fetched that is already there.
set -eu

cache=${BUSBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/busbar}
mkdir -p "$cache/src"

say() { printf 'deps: %s\n' "$*" >&2; }
die() { printf 'deps: error: %s\n' "$*" >&2; exit 1; }

# fetch NAME VERSION FILE SHA256: one source package from the Python package index
fetch() {
	if [ -f "$cache/src/$3" ]; then return 0; fi
	say "fetching $1 $2"
	tmp=$(mktemp -d "$cache/fetch.XXXXXX")
	if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps \
		--no-binary "$1" --dest "$tmp" "$1==$2" >"$tmp/log" 2>&1; then
		cat "$tmp/log" >&2
		rm -rf "$tmp"
		die "pip could not fetch $1 $2; check the network and 'python3 -m pip --version'"
	fi
	printf '%s  %s\n' "$4" "$tmp/$3" | sha256sum --check --quiet - >/dev/null ||
		die "$3 is not the file we pinned (SHA-256 differs); it was left in $tmp"
	mv "$tmp/$3" "$cache/src/$3"
	rm -rf "$tmp"
}

# unpack FILE DIR [MEMBER...]: atomically, so that an interrupted run leaves nothing half done
unpack() {
	file=$1; dir=$2; shift 2
	if [ -d "$cache/$dir" ]; then return 0; fi
	tmp=$(mktemp -d "$cache/unpack.XXXXXX")
	tar -xzf "$cache/src/$file" -C "$tmp" --strip-components=1 --no-same-owner "$@"
	mv "$tmp" "$cache/$dir"
}

fetch httptools 0.9.0 httptools-0.9.0.tar.gz \
	d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6
unpack httptools-0.9.0.tar.gz httptools-0.9.0 httptools-0.9.0/vendor/llhttp
fetch yyjson 4.0.6 yyjson-4.0.6.tar.gz \
	fcd4dc15c1e39a30bf9fa85d56903029111506860fc3080ab0d81c6c6dacaa8c
unpack yyjson-4.0.6.tar.gz yyjson-4.0.6 yyjson-4.0.6/yyjson yyjson-4.0.6/LICENSE

[ "${1:-}" = llama ] || exit 0

llama=llama-cpp-0.3.36
native=${LLAMA_NATIVE:-ON}
backend=${LLAMA_BACKEND:-cpu}
out=$cache/$llama-$backend-$native
if [ -f "$out/done" ]; then exit 0; fi
fetch llama-cpp-python 0.3.36 llama_cpp_python-0.3.36.tar.gz \
	832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
unpack llama_cpp_python-0.3.36.tar.gz "$llama" llama_cpp_python-0.3.36/vendor/llama.cpp
case $backend in
	cpu) extra= ;;
	cuda) extra=-DGGML_CUDA=ON ;;
	rocm) extra=-DGGML_HIP=ON ;;
	vulkan) extra=-DGGML_VULKAN=ON ;;
	*) die "LLAMA_BACKEND=$backend is unknown (cpu, cuda, rocm, vulkan)" ;;
esac
say "building libllama ($backend), about 150 s on two cores, once"
build=$cache/$llama-$backend-$native.build
cmake -G Ninja -S "$cache/$llama/vendor/llama.cpp" -B "$build" \
	-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE="$native" \
	-DGGML_OPENMP=OFF -DGGML_CCACHE=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF \
	-DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF \
	-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
	-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF $extra >"$cache/llama.log" 2>&1 ||
	{ tail -20 "$cache/llama.log" >&2; die "cmake failed, see $cache/llama.log"; }
ninja -C "$build" llama 2>&1 | awk '/^\[/ { printf "\rdeps: libllama %s   ", $1; fflush() } END { print "" }' >&2
rm -rf "$out.tmp"
mkdir -p "$out.tmp/lib" "$out.tmp/include"
find "$build" -name 'lib*.a' -exec cp {} "$out.tmp/lib/" \;
[ -f "$out.tmp/lib/libllama.a" ] || die "libllama.a was not built; run: ninja -C $build llama"
cp "$cache/$llama/vendor/llama.cpp/include/"*.h "$cache/$llama/vendor/llama.cpp/ggml/include/"*.h \
	"$out.tmp/include/"
touch "$out.tmp/done"
mv "$out.tmp" "$out"
rm -rf "$build"
say "libllama is in $out"
