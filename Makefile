# drover: one file builds everything. `make help` lists the targets.
#
#   make            build/release/drover, build/release/droverd
#   make SAN=address,undefined  or  make SAN=thread     builds in build/asan, build/tsan
#   make DEBUG=1    build/debug, unoptimised

VERSION := 0.1.0
SHELL := /bin/bash

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR := $(DESTDIR)$(PREFIX)/bin
SBINDIR := $(DESTDIR)$(PREFIX)/sbin
MANDIR := $(DESTDIR)$(PREFIX)/share/man
DATADIR := $(DESTDIR)$(PREFIX)/share/drover
COMPDIR := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
UNITDIR := $(DESTDIR)$(PREFIX)/lib/systemd/system

# What a fresh Debian 12 needs. NNG ships no pkg-config file; all others do.
DEBS_BUILD := build-essential pkg-config libsqlite3-dev libnng-dev libinih-dev \
	libxxhash-dev libjansson-dev libsodium-dev libedit-dev
DEBS_CHECK := libcmocka-dev perl sqlite3 tmux procps iproute2
DEBS_LINT := clang-format cppcheck shellcheck mandoc
DEBS_FUZZ := clang libclang-rt-14-dev
DEBS := $(DEBS_BUILD) $(DEBS_CHECK) $(DEBS_LINT) $(DEBS_FUZZ)

PKGS := sqlite3 inih libxxhash jansson libsodium
PKGS_CONSOLE := libedit
PKGS_TEST := cmocka

SAN ?=
DEBUG ?=
ifneq ($(filter thread,$(SAN)),)
VARIANT := tsan
else ifneq ($(SAN),)
VARIANT := asan
else ifneq ($(DEBUG),)
VARIANT := debug
else
VARIANT := release
endif
B := build/$(VARIANT)

# One line a step; V=1 shows the commands.
V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@echo '  $(1)')

CC := gcc
CSTD := -std=c11 -D_GNU_SOURCE -DSQLITE_ENABLE_PREUPDATE_HOOK -DDROVER_VERSION='"$(VERSION)"'
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wwrite-strings -Wvla -Wundef -Werror
HARDEN := -fstack-protector-strong -fstack-clash-protection -fPIE -fno-strict-aliasing
ifeq ($(VARIANT),release)
OPT := -O2 -g -D_FORTIFY_SOURCE=2
else ifeq ($(VARIANT),debug)
OPT := -O0 -g3
else
# The sanitizers' own code makes gcc see overlaps that are not there.
OPT := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all -Wno-restrict
LDSAN := -fsanitize=$(SAN)
endif
HAVE_PKGS := $(shell pkg-config --exists $(PKGS) 2>/dev/null && echo yes)
CFLAGS += $(CSTD) $(WARN) $(HARDEN) $(OPT) -I. -pthread $(if $(HAVE_PKGS),$(shell pkg-config --cflags $(PKGS)))
LDFLAGS += $(LDSAN) -pthread -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack
LDLIBS = $(if $(HAVE_PKGS),$(shell pkg-config --libs $(PKGS))) -lnng -lm
LDLIBS_CONSOLE = $(shell pkg-config --libs $(PKGS_CONSOLE) 2>/dev/null)
LDLIBS_TEST = $(shell pkg-config --libs $(PKGS_TEST) 2>/dev/null)

# A folder's sources all go into its library; a program is its main.c and the libraries.
COMMON_SRC := $(wildcard common/*.c common/*/*.c)
AGENT_SRC := $(filter-out agent/main.c,$(wildcard agent/*.c agent/*/*.c))
CONSOLE_SRC := $(filter-out console/main.c,$(wildcard console/*.c console/*/*.c))
UNIT_SRC := $(wildcard tests/unit/test_*.c)
TESTLIB_SRC := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))
PROG_SRC := $(wildcard tests/e2e/*.c tests/bench/*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
COMMON_LIB := $(B)/libcommon.a
AGENT_LIB := $(B)/libagent.a
CONSOLE_LIB := $(B)/libconsole.a
LIBS := $(CONSOLE_LIB) $(AGENT_LIB) $(COMMON_LIB)
UNIT_BIN := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SRC))
PROG_BIN := $(patsubst tests/%.c,$(B)/%,$(PROG_SRC))

.PHONY: all help deps up check check-all check-unit check-e2e bench lint fuzz fuzz-run install \
	clean progs
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/drover $(B)/droverd

help:
	@echo 'make up        install dependencies, build, start a three-node cluster in ./demo'
	@echo 'make check     install dependencies, build, run all tests'
	@echo 'make           build only          make bench   the figures, as a table and JSON'
	@echo 'make lint      format, static analysis, man pages, folder arrows'
	@echo 'make fuzz      fuzz every decoder, FUZZ_SECONDS each (60)'
	@echo 'make install   PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make clean     remove build/'

# Only asks the package manager when something is missing, so that it needs no network otherwise.
deps:
	@missing=$$(for p in $(DEBS); do \
		dpkg-query -W -f='$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -z "$$missing" ]; then echo "deps: all packages are installed"; exit 0; fi; \
	echo "deps: installing" $$missing; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC    $<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(COMMON_LIB): $(call obj,$(COMMON_SRC))
$(AGENT_LIB): $(call obj,$(AGENT_SRC))
$(CONSOLE_LIB): $(call obj,$(CONSOLE_SRC))
$(LIBS):
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR    $@)
	$(Q)$(AR) rcs $@ $^

$(B)/droverd: $(call obj,agent/main.c) $(AGENT_LIB) $(COMMON_LIB)
	$(call say,LINK  $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/drover: $(call obj,console/main.c) $(CONSOLE_LIB) $(COMMON_LIB)
	$(call say,LINK  $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(LDLIBS_CONSOLE)

$(B)/unit/%: $(B)/obj/tests/unit/%.o $(call obj,$(TESTLIB_SRC)) $(LIBS)
	@mkdir -p $(@D)
	$(call say,LINK  $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(LIBS) -Wl,--end-group \
		$(LDLIBS) $(LDLIBS_CONSOLE) $(LDLIBS_TEST)

$(PROG_BIN): $(B)/%: $(B)/obj/tests/%.o $(LIBS)
	@mkdir -p $(@D)
	$(call say,LINK  $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(LIBS) -Wl,--end-group $(LDLIBS) $(LDLIBS_CONSOLE)

progs: all $(UNIT_BIN) $(PROG_BIN)

# Everything a newcomer needs, then a cluster to look at.
up: deps
	@$(MAKE) --no-print-directory all
	@B=$(B) scripts/up

# One prove run over unit tests (cmocka speaks TAP) and end-to-end scripts.
check: deps
	@$(MAKE) --no-print-directory progs
	@$(MAKE) --no-print-directory check-all

check-all: progs
	@B=$(B) DROVER=$(abspath $(B)/drover) CMOCKA_MESSAGE_OUTPUT=tap scripts/check unit e2e

check-unit: progs
	@B=$(B) DROVER=$(abspath $(B)/drover) CMOCKA_MESSAGE_OUTPUT=tap scripts/check unit

check-e2e: progs
	@B=$(B) DROVER=$(abspath $(B)/drover) CMOCKA_MESSAGE_OUTPUT=tap scripts/check e2e

bench: deps
	@$(MAKE) --no-print-directory progs
	@B=$(B) scripts/bench $(BENCH)

ALL_C := $(wildcard common/*.[ch] common/*/*.[ch] agent/*.[ch] agent/*/*.[ch] console/*.[ch] \
	console/*/*.[ch] tests/*/*.[ch])
SCRIPTS := $(wildcard scripts/up scripts/check scripts/bench scripts/check_arrows \
	scripts/check_docs scripts/*.sh tests/e2e/*.t tests/e2e/*.sh .ci/run)
SHELL_SCRIPTS := $(shell grep -lE '^\#!.*(bash|/sh)' $(SCRIPTS) /dev/null)

lint: all
	clang-format --dry-run -Werror $(ALL_C)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppressions-list=tests/cppcheck.supp --error-exitcode=1 -D_GNU_SOURCE -I. \
		common agent console
	shellcheck -x $(SHELL_SCRIPTS)
	mandoc -Tlint -Wwarning man/*.[1-8]
	scripts/check_arrows
	B=$(B) scripts/check_docs

# Fuzz targets are built by clang, with everything instrumented.
F := build/fuzz
FUZZ_SECONDS ?= 60
FUZZ_CFLAGS = $(CSTD) -Wall -O1 -g -I. -pthread -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all $(if $(HAVE_PKGS),$(shell pkg-config --cflags $(PKGS)))
FUZZ_OBJ := $(patsubst %.c,$(F)/obj/%.o,$(COMMON_SRC) $(AGENT_SRC))
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(F)/%,$(FUZZ_SRC))

$(F)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CLANG $<)
	$(Q)clang $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<

$(F)/libdrover.a: $(FUZZ_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(F)/fuzz_%: $(F)/obj/tests/fuzz/fuzz_%.o $(F)/libdrover.a
	$(call say,LINK  $@)
	$(Q)clang -fsanitize=fuzzer,address,undefined -pthread -o $@ $^ $(LDLIBS)

fuzz: deps
	@$(MAKE) --no-print-directory fuzz-run

fuzz-run: $(FUZZ_BIN)
	@for f in $(FUZZ_BIN); do \
		mkdir -p $(F)/corpus/$$(basename $$f); \
		echo "fuzz: $$(basename $$f) for $(FUZZ_SECONDS) s"; \
		$$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -max_len=65536 -verbosity=0 \
			-print_final_stats=1 -artifact_prefix=$(F)/ $(F)/corpus/$$(basename $$f) \
			2>&1 | grep -E 'stat::number_of_executed_units|ERROR|SUMMARY' ; \
		if ls $(F) | grep -E '^(crash|leak|oom|timeout)-'; then exit 1; fi; \
	done; echo "fuzz: no finding in $(words $(FUZZ_BIN)) targets"

install: all
	install -d $(BINDIR) $(SBINDIR) $(MANDIR)/man1 $(MANDIR)/man5 $(MANDIR)/man7 $(MANDIR)/man8
	install -d $(DATADIR) $(COMPDIR) $(UNITDIR)
	install -m 755 $(B)/drover $(BINDIR)/drover
	install -m 755 $(B)/droverd $(SBINDIR)/droverd
	install -m 644 man/*.1 $(MANDIR)/man1
	install -m 644 man/*.5 $(MANDIR)/man5
	install -m 644 man/*.7 $(MANDIR)/man7
	install -m 644 man/*.8 $(MANDIR)/man8
	install -m 644 ini/*.ini $(DATADIR)
	$(B)/drover completion bash > $(COMPDIR)/drover
	install -m 644 scripts/droverd@.service $(UNITDIR)

-include $(shell find $(B)/obj $(F)/obj -name '*.d' 2>/dev/null)

clean:
	rm -rf build
