# busbar: plain GNU make.
#
#   make                 build/busbar and build/busbar-engine (release variant)
#   make busbar          the gateway alone (no libllama needed)
#   make B=asan          the same under build/asan/ with AddressSanitizer and UBSan
#   make B=tsan          ... with ThreadSanitizer
#   make B=debug         ... without optimisation
#   make CC=clang-14     another compiler
#   make unit            unit tests of variant B
#   make system          tests with the real binaries (pytest)
#   make check           unit + system + fuzz corpus + tidy
#   make fuzz            libFuzzer over every parser (FUZZ_SECONDS each)
#   make soak torture    long tests
#   make bench           side by side with the peers
#   make tidy            rooms, includes, names, formats
#   make docs            regenerates what is generated in docs/
#   make install PREFIX=/usr/local

B ?= release
CC = gcc
PYTHON ?= python3
PREFIX ?= /usr/local
O := build/$(B)

CACHE := $(or $(BUSBAR_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME)/busbar,$(HOME)/.cache/busbar))
LLHTTP := $(CACHE)/httptools-0.9.0/vendor/llhttp
YYJSON := $(CACHE)/yyjson-4.0.6/yyjson
LLAMA_NATIVE ?= ON
LLAMA_BACKEND ?= cpu
LLAMA := $(CACHE)/llama-cpp-0.3.36-$(LLAMA_BACKEND)-$(LLAMA_NATIVE)

VERSION := $(shell cat VERSION)
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

WARN := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wundef -Wwrite-strings -Wformat=2 -Wno-unused-parameter -Wimplicit-fallthrough
BASE := -std=gnu17 -D_GNU_SOURCE -Isrc -isystem $(LLHTTP)/include -isystem $(YYJSON) -g -MMD -MP \
	-fno-strict-aliasing -fno-common -ffp-contract=off -pthread -ffile-prefix-map=$(CURDIR)=. \
	-ffile-prefix-map=$(CACHE)=deps
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -fstack-clash-protection
LDHARDEN := -pie -Wl,-z,relro,-z,now,-z,noexecstack
ifeq ($(B),release)
OPT := -O2 $(HARDEN)
LDOPT := $(LDHARDEN)
else ifeq ($(B),debug)
OPT := -O0
LDOPT :=
else ifeq ($(B),asan)
OPT := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDOPT := -fsanitize=address,undefined
else ifeq ($(B),tsan)
OPT := -O1 -fno-omit-frame-pointer -fsanitize=thread
LDOPT := -fsanitize=thread
else ifeq ($(B),cov)
OPT := -O0 --coverage -DUNIT_SLOW_BUILD
LDOPT := --coverage
else
$(error unknown variant B=$(B): release, debug, asan, tsan or cov)
endif
CFLAGS := $(BASE) $(WARN) $(OPT) $(EXTRA_CFLAGS)
SECCOMP := $(shell pkg-config --libs libseccomp 2>/dev/null)
LIBS := $(shell pkg-config --libs yaml-0.1 openssl 2>/dev/null || echo -lyaml -lssl -lcrypto) $(SECCOMP) -lpthread -lm
# Only the rooms text and sim need these; the engine does without them.
TEXT_LIBS := $(shell pkg-config --libs libutf8proc libpcre2-8 zlib 2>/dev/null || echo -lutf8proc -lpcre2-8 -lz)

# V=1 prints whole commands.
ifeq ($(V),1)
say = @:
Q :=
else
say = @printf '  %-5s %s\n'
Q := @
endif

THIRD := $(O)/third/llhttp.o $(O)/third/http.o $(O)/third/api.o $(O)/third/yyjson.o
SRC := $(sort $(wildcard src/*/*.c) $(wildcard src/*/*/*.c))
MAIN := src/cmd/main.c
OBJ := $(patsubst src/%.c,$(O)/%.o,$(filter-out $(MAIN),$(SRC)))
ENGINE_ROOMS := base os text wire net
ENGINE_OBJ := $(patsubst src/%.c,$(O)/%.o,$(foreach r,$(ENGINE_ROOMS),$(sort $(wildcard src/$(r)/*.c)))) \
	$(patsubst engine/%.c,$(O)/engine/%.o,$(wildcard engine/*.c)) $(O)/cmd/version.o
UNIT := $(patsubst tests/unit/%.c,$(O)/unit/%,$(sort $(wildcard tests/unit/*/test_*.c)))

.PHONY: all busbar engine deps unit system check fuzz fuzz-corpus soak torture bench tidy docs clean install format
.SECONDARY:
all: busbar engine

DEPS_STAMP := $(LLHTTP)/include/llhttp.h $(YYJSON)/yyjson.h
$(DEPS_STAMP):
	sh tools/deps.sh
deps: $(DEPS_STAMP)

busbar: build/busbar
engine: build/busbar-engine
build/busbar: $(O)/busbar
	@ln -f $< $@
build/busbar-engine: $(O)/busbar-engine
	@ln -f $< $@

$(O)/busbar: $(OBJ) $(O)/cmd/main.o $(THIRD)
	$(say) LD $@
	$(Q)$(CC) $(OPT) $(LDOPT) -o $@ $^ $(LIBS) $(TEXT_LIBS)

$(LLAMA)/done:
	LLAMA_NATIVE=$(LLAMA_NATIVE) LLAMA_BACKEND=$(LLAMA_BACKEND) sh tools/deps.sh llama

# libllama's C++ runtime is linked statically, so that the program needs only libc and libm.
$(O)/busbar-engine: $(ENGINE_OBJ) $(THIRD) $(LLAMA)/done
	$(say) LD $@
	$(Q)$(CC) $(OPT) $(LDOPT) -o $@ $(ENGINE_OBJ) $(THIRD) \
		-Wl,--start-group $(LLAMA)/lib/*.a -Wl,--end-group \
		-static-libgcc -Wl,-Bstatic -lstdc++ -Wl,-Bdynamic $(LLAMA_LIBS) $(LIBS) $(TEXT_LIBS) -ldl

$(O)/engine/%.o: engine/%.c $(LLAMA)/done | $(DEPS_STAMP)
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS) -isystem $(LLAMA)/include -c -o $@ $<
$(O)/third/%.o: $(LLHTTP)/src/%.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(BASE) $(OPT) -w -O3 -c -o $@ $<
$(LLHTTP)/src/%.c: | $(DEPS_STAMP) ;
$(O)/third/yyjson.o: $(YYJSON)/yyjson.h
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(BASE) $(OPT) -w -c -o $@ $(YYJSON)/yyjson.c
# Where the build's identity goes in; nothing else is rebuilt when the commit changes.
$(O)/cmd/version.o: EXTRA_CFLAGS += -DBUSBAR_VERSION='"$(VERSION)"' -DBUSBAR_COMMIT='"$(COMMIT)"' -DBUSBAR_VARIANT='"$(B)"'
# It is called only where the processor has it.
ifeq ($(shell uname -m),x86_64)
$(O)/base/hash_wide.o: EXTRA_CFLAGS += -mavx2
endif
# Without libseccomp there is no filter of system calls; `busbar --version` and the log say so.
ifneq ($(SECCOMP),)
$(O)/os/sandbox.o: EXTRA_CFLAGS += -DBB_WITH_SECCOMP $(shell pkg-config --cflags libseccomp)
endif
$(O)/cmd/version.o: VERSION $(wildcard .git/logs/HEAD)
$(O)/%.o: src/%.c | $(DEPS_STAMP)
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS) $(EXTRA_CFLAGS) -c -o $@ $<

# ---- tests ----
$(O)/unit/%: tests/unit/%.c $(OBJ) $(THIRD)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) -Itests/unit $(LDOPT) -o $@ $< $(OBJ) $(THIRD) $(LIBS) $(TEXT_LIBS) -lcmocka
unit: $(UNIT)
	sh tools/run-unit.sh $(UNIT)
system: busbar engine
	$(PYTHON) -m pytest -q tests/system
tidy:
	$(PYTHON) tools/tidy.py
docs: busbar
	sh tools/gendocs.sh
format:
	clang-format-14 -i $(wildcard src/*/*.[ch] src/*/*/*.[ch] engine/*.[ch] tests/unit/*/*.[ch] tests/fuzz/*.[ch])
clean:
	rm -rf build

install: all
	install -Dm755 build/busbar $(DESTDIR)$(PREFIX)/bin/busbar
	install -Dm755 build/busbar-engine $(DESTDIR)$(PREFIX)/bin/busbar-engine
	for page in docs/man/*.1 docs/man/*.5; do \
		[ -f "$$page" ] || continue; s=$${page##*.}; \
		install -Dm644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man$$s/$${page##*/}"; done

-include $(OBJ:.o=.d) $(O)/cmd/main.d $(ENGINE_OBJ:.o=.d) $(UNIT:=.d)
-include tests/tests.mk tests/robust.mk bench/bench.mk packaging/packaging.mk
