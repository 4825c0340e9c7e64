# Benchmarks: see bench/README.md. Never a part of `make check` but for the instruction budgets,
# which tests/system/test_budgets.py holds.
#
#   make bench                busbar beside nginx and HAProxy: about 6 minutes
#   make bench-peers          and SMG, which it installs from PyPI into the cache
#   make bench-tokenizers     tokenizers beside the library, tiktoken and fastokens
#   make bench-index          the prefix index; and a public trace through it and through Dynamo's
#   make bench-conversations  what exact routing adds to warm conversations
#   make bench-docs           puts the last table into docs/benchmarks.md
#   make bench-instructions   instructions per request and per chunk, against their budgets
#   make bench-budgets        sets the budgets 10 % above what is measured now
.PHONY: bench-conversations bench-index bench-tokenizers bench-peers bench-docs bench-instructions bench-budgets
bench: busbar
	$(PYTHON) bench/run.py $(BENCH_ARGS)
bench-peers: busbar
	$(PYTHON) bench/run.py --peers all $(BENCH_ARGS)
bench-docs:
	$(PYTHON) bench/tables.py build/bench/results.json docs/benchmarks.md
bench-instructions: busbar
	$(PYTHON) bench/instructions.py --check $(BENCH_ARGS)
bench-budgets: busbar
	$(PYTHON) bench/instructions.py --write $(BENCH_ARGS)
bench-tokenizers: busbar
	$(PYTHON) bench/tokenizer_speed.py $(BENCH_ARGS)
bench-index: busbar
	build/busbar bench index
	$(PYTHON) bench/index_trace.py $(BENCH_ARGS)
bench-conversations: busbar
	$(PYTHON) bench/conversations.py $(BENCH_ARGS)
