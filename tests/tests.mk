# tests.mk: fuzzing, and what tools/test.sh builds. Included by the Makefile.
#
#   make unit-build                    builds the unit tests and does not run them
#   make fuzz-corpus                   every saved input through every parser, under gcc's ASan and UBSan
#   make fuzz FUZZ_SECONDS=60          libFuzzer (clang), that long for each parser
#   make fuzz FUZZ=http1               one of them
#   make coverage                      lines that unit tests and corpus run; fails when wire has too few
#   make sim-fuzz SEEDS=1000         random clusters on virtual time; SEED=n: that one alone
#   make tokens-full                   tokenizers beside the library, over 20 MB and more
#   make check                         everything that ends by itself in a few minutes

FUZZ_SECONDS ?= 60
FUZZ ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_CC ?= $(firstword $(shell command -v clang-14 clang clang-19 clang-18 clang-17 clang-16 clang-15 2>/dev/null) clang-14)
# A parser needs the rooms of the lowest floors only; a journal's events are told to a brain.
FUZZ_ROOMS := base os text wire brain
FUZZ_SRC := $(filter $(foreach r,$(FUZZ_ROOMS),src/$(r)/%),$(SRC)) $(wildcard src/records/journal_f*.c) \
	$(filter-out src/sim/work_make.c src/sim/work_draw.c src/sim/work_write.c,$(wildcard src/sim/work*.c)) src/sim/gunzip.c

.PHONY: unit-build
unit-build: $(UNIT)

# ---- replay: the fuzz target with a main of ours ----
FUZZ_OBJ := $(FUZZ_SRC:src/%.c=$(O)/%.o)
$(O)/replay/%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(FUZZ_OBJ) $(THIRD)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDOPT) -o $@ $< tests/fuzz/replay.c $(FUZZ_OBJ) $(THIRD) $(LIBS) $(TEXT_LIBS)

ifeq ($(B),asan)
fuzz-corpus: $(FUZZ:%=$(O)/replay/%)
	sh tests/fuzz/replay.sh $(O)/replay $(FUZZ)
else
fuzz-corpus:
	@$(MAKE) --no-print-directory B=asan O=build/asan CC=gcc fuzz-corpus
endif

# ---- coverage ----
COVERAGE_ARGS ?=
.PHONY: coverage
ifeq ($(B),cov)
coverage: $(UNIT) $(FUZZ:%=$(O)/replay/%)
	$(PYTHON) tools/coverage.py $(COVERAGE_ARGS)
else
coverage:
	@$(MAKE) --no-print-directory B=cov O=build/cov CC=gcc coverage
endif

# ---- libFuzzer ----
FUZZ_FLAGS := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
build/fuzz/obj/third/%.o: $(LLHTTP)/src/%.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(BASE) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -w -c -o $@ $<
build/fuzz/obj/third/yyjson.o: $(YYJSON)/yyjson.h
	@mkdir -p $(@D)
	$(FUZZ_CC) $(BASE) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -w -c -o $@ $(YYJSON)/yyjson.c
build/fuzz/obj/%.o: src/%.c | $(DEPS_STAMP)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(BASE) $(WARN) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<
FUZZ_LIB := $(FUZZ_SRC:src/%.c=build/fuzz/obj/%.o) $(THIRD:$(O)/third/%=build/fuzz/obj/third/%)
build/fuzz/%: tests/fuzz/fuzz_%.c $(FUZZ_LIB)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(BASE) $(WARN) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $< $(FUZZ_LIB) $(LIBS) $(TEXT_LIBS)
# New inputs go to build/fuzz/found/NAME; a crash is kept as build/fuzz/crash-NAME-….
fuzz: $(FUZZ:%=build/fuzz/%)
	@set -e; for name in $(FUZZ); do \
		mkdir -p build/fuzz/found/$$name; \
		echo "fuzz: $$name, $(FUZZ_SECONDS) s"; \
		build/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
			-print_final_stats=1 -artifact_prefix=build/fuzz/crash-$$name- \
			build/fuzz/found/$$name tests/fuzz/corpus/$$name >build/fuzz/$$name.log 2>&1 || \
			{ tail -40 build/fuzz/$$name.log; exit 1; }; \
		grep -E 'number_of_executed_units|^Done' build/fuzz/$$name.log || true; \
	done

# Whole clusters on virtual time: seeds × faults × workloads. The unit tests run 200 of them.
SEEDS ?= 1000
SEED ?=
.PHONY: sim-fuzz
sim-fuzz: $(O)/unit/sim/test_fleet_random
	BUSBAR_SEEDS=$(SEEDS) $(if $(SEED),BUSBAR_SEED=$(SEED)) $<

# Published tokenizers over 20 MB and more of text; needs the Python package `tokenizers`.
TOKEN_BYTES ?= 1000000
.PHONY: tokens-full
tokens-full: busbar
	BUSBAR_TOKEN_BYTES=$(TOKEN_BYTES) $(PYTHON) -m pytest -q tests/system/test_tokenizer.py

check: tidy unit fuzz-corpus system

-include $(FUZZ_SRC:src/%.c=build/fuzz/obj/%.d)
