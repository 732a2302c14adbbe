# Makefile -- builds larder out of tree, in build/<mode>/; there is nothing to configure.
#
#   make                the server, the library, larder-sim and the example: build/release/
#   make run            install what is missing, build, serve on 127.0.0.1:11211 (ARGS='-m 256')
#   make test           install what is missing, build, run every test (ONLY=regex for some)
#   make test-long      the same with the long versions of the client and stress tests
#   make test-clients   every memcached client there is a scenario for, a table of what each can do
#   make test-diff      COMMANDS=10000000 random commands to larder and to Debian's memcached
#   make bench-quick    larder, Debian's memcached and the floor side by side
#   make bench-store    the store alone, in reads of memory, with limits
#   make bench-verify   replay of modelled traces where every wrong value is an error
#   make bench-stall    does housekeeping stall a reader? an hour (ARGS=--quick: 90 seconds)
#   make bench-hits     misses at equal memory, density, changing sizes; an hour (QUICK=1: minutes)
#   make fuzz           each fuzz target for FUZZ_SECONDS (60), from its corpus
#   make install        PREFIX=/usr/local DESTDIR= LIBDIR=$(PREFIX)/lib
#   make docs           write docs/larderd.1 from the server's own table of options
#   make clean
#
# Variants, each in a directory of its own: CC=clang, DEBUG=1, SAN=address (with undefined
# behaviour), SAN=thread, SAN=memory (reads of what nobody wrote; clang alone, and for what needs
# no server).  WERROR=1 makes warnings errors, V=1 shows the commands.

ifeq ($(origin CC),default)
CC := gcc
endif
PYTHON ?= /usr/bin/python3
OBJCOPY ?= objcopy
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
DESTDIR ?=
FUZZ_SECONDS ?= 60
COMMANDS ?= 10000000
SEED ?= 1
JOBS ?= $(shell nproc)

# ---- variants ------------------------------------------------------------------------------

MODE_OF_address := asan
MODE_OF_thread := tsan
MODE_OF_memory := msan
MODE_OF_fuzzer := fuzz
MODE := $(if $(SAN),$(MODE_OF_$(SAN)),$(if $(DEBUG),debug,release))
ifeq ($(MODE),)
$(error SAN=$(SAN): must be address, thread or memory)
endif
CLANG := $(findstring clang,$(notdir $(CC)))
BUILD := build/$(if $(CLANG),clang-)$(MODE)
LARDERD := $(BUILD)/larderd
# The number changes when a program that was linked before would no longer work.
SONAME := liblarder.so.0

FLAGS_release := -O2 -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
FLAGS_debug := -Og -DLARDER_DEBUG
FLAGS_asan := -O1 -fno-omit-frame-pointer -DLARDER_DEBUG \
    -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_tsan := -O1 -fno-omit-frame-pointer -DLARDER_DEBUG -fsanitize=thread
FLAGS_msan := -O1 -fno-omit-frame-pointer -DLARDER_DEBUG -fsanitize=memory -fno-sanitize-recover=all
FLAGS_fuzz := -O1 -fno-omit-frame-pointer -DLARDER_DEBUG \
    -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
    -Wcast-qual -Wwrite-strings -Wvla
# OWN_CFLAGS: of some objects alone.
ALL_CFLAGS = -std=gnu11 -g -fPIE -fno-plt -pthread -Isrc -Iinclude $(WARNINGS) $(FLAGS_$(MODE)) \
    $(CFLAGS) $(OWN_CFLAGS)
ALL_LDFLAGS = -pie -pthread -Wl,-z,relro,-z,now $(FLAGS_$(MODE)) $(LDFLAGS)
COMPILE = $(CC) $(ALL_CFLAGS) $(if $(WERROR),-Werror) -MMD -MP -c -o $@ $<
LINK = $(CC) -o $@ $(filter %.o %.a,$^) $(ALL_LDFLAGS) $(LINK_$(@F))
# One word per file; V=1 shows the commands.
Q := $(if $(V),,@)
SAY = $(if $(V),,@echo '  $(1) $@')

# ---- what there is -------------------------------------------------------------------------

# All of src/ but programs is linked into every unit test and every fuzz target.
MAIN := src/server/main.c
SIM := $(wildcard src/sim/*.c)
SOURCES := $(filter-out $(MAIN) $(SIM),$(wildcard src/*/*.c))
EXAMPLES := $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))
# What liblarder is made of.
LIBRARY := $(filter src/base/% src/obs/% src/store/% src/lib/%,$(SOURCES))
UNITS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c tests/fault/test_*.c))
FUZZERS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCHES := $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c))
# With a runtime in place of a sanitizer's, so not together with one.
INTERLEAVES := $(if $(SAN),,$(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard \
    tests/interleave/test_*.c)))

# A test may replace files of src/ by stand-ins of tests/lib/, and may want linker options:
#   OVERRIDE_<program> = the files it leaves out and the files that take their place
#   LINK_<program>     = options
CONN_RIG := src/conn/wire_socket.c src/loop/loop_epoll.c tests/lib/wire_script.c tests/lib/conn_rig.c
OVERRIDE_test_conn = $(CONN_RIG)
OVERRIDE_fuzz_conn = $(CONN_RIG)
LINK_test_conn = -Wl,--wrap=malloc,--wrap=realloc,--wrap=proto_parse

# A bench is compiled alone, unless it measures a part of the server from within:
#   PARTS_<program> = the files of src/ that it is linked with
PARTS_store = $(filter src/base/% src/obs/% src/store/%,$(SOURCES))

STAND_INS := $(sort $(filter tests/%,$(foreach v,$(filter OVERRIDE_%,$(.VARIABLES)),$($v))))
SUPPORT := $(filter-out $(STAND_INS),$(wildcard tests/lib/*.c))
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
# Everything a test program is linked with beside its own object.
parts = $(call objects,$(filter-out $(OVERRIDE_$(1)),$(SOURCES)) $(SUPPORT) \
    $(filter tests/%,$(OVERRIDE_$(1))))

# src/store and src/base instrumented as for ThreadSanitizer, with tests/interleave/tsan_abi.c in
# the place of its library.  No builtins and no fortification: what the compiler copies by itself, or by
# another name, would not be seen.
INTERLEAVE_WRAPS := memcpy memmove memset memcmp malloc calloc free madvise sched_yield \
    clock_gettime pthread_mutex_lock pthread_mutex_unlock
INTERLEAVE_LINK := $(INTERLEAVE_WRAPS:%=-Wl,--wrap=%)
INTERLEAVE_CFLAGS := -U_FORTIFY_SOURCE
INSTRUMENTED_CFLAGS := $(INTERLEAVE_CFLAGS) -fsanitize=thread -fno-builtin \
    $(if $(CLANG),,-fno-tree-loop-distribute-patterns)
INTERLEAVE_PARTS := $(patsubst src/%.c,$(BUILD)/interleave/%.o,$(wildcard src/store/*.c \
    src/base/*.c)) $(call objects,$(filter-out tests/interleave/test_%,$(wildcard \
    tests/interleave/*.c)))

# ---- rules ---------------------------------------------------------------------------------

.PHONY: all server library sim examples units interleaves fuzzers benches testable run test \
    test-long test-clients test-diff bench-quick bench-store bench-verify bench-stall bench-hits \
    fuzz fuzz-all install docs clean help
.DELETE_ON_ERROR:
.SECONDARY:
.SECONDEXPANSION:

all: server library sim examples
	@:
server: $(LARDERD)
	@:
library: $(BUILD)/liblarder.a $(BUILD)/$(SONAME)
sim: $(BUILD)/larder-sim
examples: $(EXAMPLES)
units: $(UNITS)
fuzzers: $(FUZZERS)
benches: $(BENCHES)
interleaves: $(INTERLEAVES)
testable: all units interleaves fuzzers benches
	@:

$(LARDERD): $(call objects,$(MAIN) $(filter-out src/lib/%,$(SOURCES)))
	$(call SAY,LINK)
	$(Q)$(LINK)

# Both libraries offer what include/larder.h names and nothing else: all other names are hidden, and
# in the static one, where that alone does not help, local to its one object.
$(BUILD)/liblarder.a: $(BUILD)/library/liblarder.o
	$(call SAY,AR  )
	$(Q)rm -f $@ && $(AR) rcs $@ $<
$(BUILD)/library/liblarder.o: $(LIBRARY:src/%.c=$(BUILD)/library/%.o)
	$(call SAY,LD  )
	$(Q)$(LD) -r -o $@ $^ && $(OBJCOPY) --localize-hidden $@

$(BUILD)/$(SONAME): $(LIBRARY:src/%.c=$(BUILD)/library/%.o)
	$(call SAY,LINK)
	$(Q)$(CC) -shared -o $@ $^ -Wl,-soname,$(SONAME) $(if $(SAN),,-Wl,-z,defs) \
	    $(filter-out -pie,$(ALL_LDFLAGS))
	@ln -sf $(SONAME) $(@:.0=)

$(BUILD)/library/%.o: OWN_CFLAGS = -fPIC -fvisibility=hidden
$(BUILD)/library/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC  )
	$(Q)$(COMPILE)

# The simulator knows the library by its header alone, and traces by that of bench/.
$(BUILD)/larder-sim: $(call objects,$(SIM)) $(BUILD)/liblarder.a
	$(call SAY,LINK)
	$(Q)$(LINK)
$(BUILD)/src/sim/%.o: OWN_CFLAGS = -iquote bench

$(BUILD)/examples/%: $(BUILD)/examples/%.o $(BUILD)/liblarder.a
	$(call SAY,LINK)
	$(Q)$(LINK)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $$(call parts,$$*)
	$(call SAY,LINK)
	$(Q)$(LINK) -lcmocka -lm

$(BUILD)/tests/fault/%: $(BUILD)/tests/fault/%.o $$(call parts,$$*)
	$(call SAY,LINK)
	$(Q)$(LINK) -lcmocka -lm

$(BUILD)/tests/interleave/test_%: $(BUILD)/tests/interleave/test_%.o $(INTERLEAVE_PARTS)
	$(call SAY,LINK)
	$(Q)$(LINK) $(INTERLEAVE_LINK) -lcmocka

$(BUILD)/tests/interleave/%.o: OWN_CFLAGS = $(INTERLEAVE_CFLAGS)
$(BUILD)/interleave/%.o: OWN_CFLAGS = $(INSTRUMENTED_CFLAGS)
$(BUILD)/interleave/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC  )
	$(Q)$(COMPILE)

# With libFuzzer, or with a main that replays files.
FUZZ_MAIN := $(if $(filter fuzz,$(MODE)),,$(call objects,tests/fuzz/replay_main.c))
$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(FUZZ_MAIN) $$(call parts,$$*)
	$(call SAY,LINK)
	$(Q)$(LINK) $(if $(FUZZ_MAIN),,-fsanitize=fuzzer) -lm

$(BUILD)/bench/%: $(BUILD)/bench/%.o $$(call objects,$$(PARTS_$$*))
	$(call SAY,LINK)
	$(Q)$(LINK) -lm

# bench/store is a script: make's own rule would compile bench/store.c over it.
%: %.c

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC  )
	$(Q)$(COMPILE)

# Changes only when the compiler or its options do; then everything is compiled again.
FLAGS_NOW := $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(INSTRUMENTED_CFLAGS)
ifneq ($(file <$(BUILD)/flags),$(FLAGS_NOW))
.PHONY: $(BUILD)/flags
endif
$(BUILD)/flags:
	@mkdir -p $(@D)
	@printf '%s\n' '$(FLAGS_NOW)' >$@

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- what people type ----------------------------------------------------------------------

# Parallel unless the caller has said how.
SUBMAKE = +@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(JOBS))
CLANG_GROUP := $(if $(CLANG),fuzz)
# An option in ARGS replaces the default below.
RUN_LISTEN = $(if $(filter -l% --listen% -s% --unix-socket%,$(ARGS)),,-l 127.0.0.1)
RUN_USER = $(if $(filter 0,$(shell id -u)),$(if $(filter -u% --user%,$(ARGS)),,-u nobody))

run:
	@dist/setup build $(CLANG_GROUP)
	$(SUBMAKE) server
	@exec $(LARDERD) $(RUN_LISTEN) $(RUN_USER) $(ARGS)

test:
	@dist/setup build test $(CLANG_GROUP)
	$(SUBMAKE) testable
	@$(PYTHON) tests/run --build $(BUILD) $(if $(ONLY),--only '$(ONLY)') $(if $(LONG),--long)

test-long:
	$(SUBMAKE) test LONG=1

# ARGS='--server /usr/bin/memcached' for another server, ARGS='--only php' for some clients.
test-clients:
	@dist/setup build
	-@dist/setup clients
	$(SUBMAKE) server
	-@$(MAKE) --no-print-directory -s $(NPM_READY)
	@LARDERD=$(CURDIR)/$(LARDERD) $(PYTHON) -B tests/clients/run_clients.py \
	    --npm $(NPM_DIR) $(ARGS)

# In the versions, and with the checksums, of package-lock.json.  Without a network the clients
# are skipped.
NPM_DIR := build/npm
NPM_READY := $(NPM_DIR)/node_modules/.package-lock.json
$(NPM_READY): tests/clients/npm/package.json tests/clients/npm/package-lock.json
	@mkdir -p $(NPM_DIR)
	@cp $^ $(NPM_DIR)
	$(call SAY,NPM )
	$(Q)cd $(NPM_DIR) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >npm.log
	@touch $@

# What they find is written to files there: each program says how to play it again.
test-diff:
	@dist/setup build test
	$(SUBMAKE) server
	@set -e; for stream in $(wildcard tests/diff/valid.py tests/diff/broken.py); do \
	    $(PYTHON) $$stream --server $(LARDERD) --commands $(COMMANDS) --seed $(SEED) $(ARGS); \
	done

bench-quick bench-store bench-verify bench-stall bench-hits: bench-%:
	@dist/setup build bench
	$(SUBMAKE) server benches
	@LARDERD=$(CURDIR)/$(LARDERD) BENCH_DIR=$(CURDIR)/$(BUILD)/bench bench/$* \
	    $(if $(QUICK),--quick) $(ARGS)

fuzz:
	@dist/setup build fuzz
	$(SUBMAKE) CC=clang SAN=fuzzer fuzz-all

# The first corpus directory receives what is found; the tree's own is only read.
fuzz-all: fuzzers
	@set -e; for target in $(FUZZERS); do \
	    name=$${target##*/fuzz_}; mkdir -p $(BUILD)/corpus/$$name tests/fuzz/corpus/$$name; \
	    echo "$$target: $(FUZZ_SECONDS) seconds"; \
	    $$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 -verbosity=0 \
	        -artifact_prefix=$(BUILD)/found-$$name- \
	        $(BUILD)/corpus/$$name tests/fuzz/corpus/$$name; \
	done

INSTALLED := $(DESTDIR)$(PREFIX)
install: all
	install -d $(INSTALLED)/bin $(INSTALLED)/include $(INSTALLED)/share/man/man1 \
	    $(INSTALLED)/lib/systemd/system $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 755 $(LARDERD) $(BUILD)/larder-sim $(INSTALLED)/bin
	$(LARDERD) --print-man >$(BUILD)/larderd.1
	install -m 644 $(BUILD)/larderd.1 docs/larder-sim.1 $(INSTALLED)/share/man/man1
	sed 's|@PREFIX@|$(PREFIX)|g' dist/larderd.service >$(BUILD)/larderd.service
	install -m 644 $(BUILD)/larderd.service $(INSTALLED)/lib/systemd/system
	install -m 644 include/larder.h $(INSTALLED)/include
	install -m 644 $(BUILD)/liblarder.a $(BUILD)/$(SONAME) $(DESTDIR)$(LIBDIR)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/liblarder.so
	version=$$(sed -n 's/#define LARDER_VERSION "\(.*\)"/\1/p' include/larder.h) && \
	    sed "s|@PREFIX@|$(PREFIX)|g; s|@LIBDIR@|$(LIBDIR)|g; s|@VERSION@|$$version|g" \
	    dist/liblarder.pc >$(BUILD)/liblarder.pc
	install -m 644 $(BUILD)/liblarder.pc $(DESTDIR)$(LIBDIR)/pkgconfig

docs: server
	@mkdir -p docs
	$(LARDERD) --print-man >docs/larderd.1

clean:
	rm -rf build

help:
	@sed -n '/^$$/q; s/^#   //p' Makefile
