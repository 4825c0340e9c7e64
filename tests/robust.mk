# robust.mk: long tests. Included by the Makefile.
#
#   make torture                       every allocation fails in turn, under AddressSanitizer
#   make torture TORTURE_ARGS="1 300"  the first 300 of each round
#   make soak SOAK_ARGS="--minutes 5"  load for half an hour: memory and descriptors must not grow

TORTURE_ARGS ?= 1
SOAK_ARGS ?=

TORTURE := $(patsubst tests/torture/%.c,$(O)/torture/%,$(sort $(wildcard tests/torture/torture_*.c)))
$(O)/torture/%: tests/torture/%.c $(OBJ) $(THIRD)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDOPT) -o $@ $< $(OBJ) $(THIRD) $(LIBS) $(TEXT_LIBS)

ifeq ($(B),asan)
torture: $(TORTURE)
	set -e; for program in $(TORTURE); do $$program $(TORTURE_ARGS); done
else
torture:
	@$(MAKE) --no-print-directory B=asan O=build/asan CC=gcc torture
endif

soak: busbar
	$(PYTHON) tests/soak/soak.py $(SOAK_ARGS)

-include $(TORTURE:=.d)
