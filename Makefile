# qmt - one flat Makefile. `make help` lists what there is to ask for.
#   V=1 shows the commands · SAN=asan|tsan builds into build/<san>/ · CC=clang works too

VERSION := 0.1.0
SAN     ?=
CC      ?= cc
ifeq ($(origin CC),default)
CC      := gcc
endif
CXX     ?= g++
PREFIX  ?= /usr/local
B       := build$(if $(SAN),/$(SAN))$(if $(COVER),/cover)
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2);)

PKGS    := libzmq libsodium jansson sqlite3 libcurl libqrencode
PKGS_QMT := libczmq
PKGS_LAB := libuv libczmq
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wformat=2 -Werror
SANFLAGS_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SANFLAGS_tsan := -fsanitize=thread -fno-omit-frame-pointer $(if $(findstring gcc,$(CC)),-Wno-tsan)
SANFLAGS := $(SANFLAGS_$(SAN))
OPT     := $(if $(SAN),-O1,$(if $(COVER),-O0 --coverage,-O2)) -g
CPPFLAGS += -I. -include runtime/base/poison.h -D_GNU_SOURCE -DQMT_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS  += -std=gnu11 $(WARN) $(OPT) $(SANFLAGS) -fvisibility=hidden -fPIC -pthread
CXXFLAGS += -std=c++17 -Wall -Wextra -Werror $(OPT) $(SANFLAGS) -fvisibility=hidden -fno-rtti -pthread -I.
LDFLAGS += $(SANFLAGS) $(if $(COVER),--coverage) -pthread
# A hundred test programs with much debug text: gold, which comes with binutils, needs a third of the time for each.
$(B)/test/%: LDFLAGS += $(if $(shell command -v ld.gold),-fuse-ld=gold)
# libcurl is loaded when it is needed (actors/provider/curl_api.h), and nothing is linked that is not used.
LDLIBS  += -Wl,--as-needed $(shell pkg-config --libs $(filter-out libcurl,$(PKGS)) 2>/dev/null) -lmsgpackc -lm

# ---- what there is: the tree decides ---------------------------------------------------------------------------------
RUNTIME_C := $(wildcard runtime/*.c runtime/base/*.c)
LIB_C     := $(wildcard proto/*.c proto/*/*.c transports/*.c actors/*.c actors/*/*.c)
CMD_C     := $(wildcard cmd/*.c)
SHIM_C    := cmd/lab/clock_shim.c
LAB_C     := $(filter-out $(SHIM_C),$(wildcard cmd/lab/*.c))
CMD_CXX   := $(wildcard cmd/*.cpp)
CLIENT_C  := transports/control_client.c
LIB_C     := $(filter-out $(CLIENT_C),$(LIB_C))
MAINS     := qmtd qmt qmt-lab
MAIN_C    := $(MAINS:%=cmd/%.c)
CMD_LIB_C := $(filter-out $(MAIN_C),$(CMD_C))

# PART="port unit/runtime" builds and runs only what lies there; unit/runtime/mailbox is one program (test/run.py says more).
UNIT_DIRS := $(if $(PART),$(foreach part,$(filter unit% port%,$(PART)),$(wildcard test/$(part) test/$(part).c test/$(part)_test.c)),test/unit test/port)
UNIT_C    := $(if $(UNIT_DIRS),$(shell find $(UNIT_DIRS) -name '*_test.c' 2>/dev/null | sort))
UNIT      := $(UNIT_C:%.c=$(B)/%)
TESTLIB_C := $(wildcard test/lib/*.c)
TOOL_C    := $(wildcard test/tools/*.c)
TOOLS     := $(TOOL_C:%.c=$(B)/%)
BENCH_C   := $(wildcard test/bench/*.c)
BENCH     := $(BENCH_C:test/bench/%.c=$(B)/bench/%)
SIM_C     := $(wildcard test/sim/*.c)
FUZZ_C    := $(wildcard test/fuzz/*_fuzz.c)
# Programs as an author outside the tree writes them; those of MESH need what is not installed (links between nodes).
EXAMPLE_C := $(wildcard docs/examples/actors/*.c)
EXAMPLES  := $(EXAMPLE_C:docs/examples/actors/%.c=$(B)/examples/%)
EXAMPLES_MESH := $(B)/examples/chat

obj = $(patsubst %.c,$(B)/%.o,$(filter %.c,$(1))) $(patsubst %.cpp,$(B)/%.o,$(filter %.cpp,$(1)))
RUNTIME_O := $(call obj,$(RUNTIME_C))
LIB_O     := $(call obj,$(LIB_C))
SIM_O     := $(call obj,$(SIM_C))
CLIENT_O  := $(call obj,$(CLIENT_C))
LAB_O     := $(call obj,$(LAB_C))
CMD_O     := $(call obj,$(CMD_LIB_C) $(CMD_CXX))
TESTLIB_O := $(call obj,$(TESTLIB_C) cmd/lab/peer_hostile.c)
ALL_C     := $(RUNTIME_C) $(LIB_C) $(CLIENT_C) $(CMD_C) $(LAB_C) $(UNIT_C) $(TESTLIB_C) $(TOOL_C) $(BENCH_C) $(SIM_C) $(FUZZ_C) $(EXAMPLE_C)

.DEFAULT_GOAL := all
.PHONY: all tests
## build: everything into build/: qmtd, qmt, libqmt-actor, benchmarks, examples  [all]
all: $(B)/libqmt-actor.a $(B)/libqmt-actor.so $(B)/libqmt.a $(MAINS:%=$(B)/%) $(B)/libqmt-lab-clock.so $(BENCH) $(EXAMPLES)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/%.o: %.cpp
	@mkdir -p $(@D)
	$(call say,CXX,$<)$(CXX) $(CXXFLAGS) -MMD -MP -c $< -o $@
$(B)/libqmt-actor.a: $(RUNTIME_O)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^
$(B)/libqmt-actor.so: $(RUNTIME_O)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -shared -Wl,-soname,libqmt-actor.so.0 $^ -o $@
$(B)/libqmt.a: $(LIB_O)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^
$(B)/libqmt-cmd.a: $(CMD_O)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

LINKED := $(B)/libqmt-cmd.a $(B)/libqmt.a $(B)/libqmt-actor.a
$(B)/qmtd: $(B)/cmd/qmtd.o $(LINKED)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(LDLIBS) -linih
$(B)/qmt: $(B)/cmd/qmt.o $(CLIENT_O) $(LINKED)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(shell pkg-config --libs $(PKGS_QMT) 2>/dev/null) $(LDLIBS) -linih
# Preloaded into programs of all kinds: no sanitizer, no library of ours.
$(B)/libqmt-lab-clock.so: $(SHIM_C)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CPPFLAGS) $(filter-out $(SANFLAGS),$(CFLAGS)) -shared $< -o $@
$(B)/libqmt-lab.a: $(LAB_O)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^
$(B)/qmt-lab: $(B)/cmd/qmt-lab.o $(LAB_O) $(CLIENT_O) $(LINKED)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(shell pkg-config --libs $(PKGS_LAB) 2>/dev/null) $(LDLIBS) -linih
$(B)/test/unit/cmd/lab/%_test: $(B)/test/unit/cmd/lab/%_test.o $(TESTLIB_O) $(CLIENT_O) $(B)/libqmt-lab.a $(LINKED)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ -lcmocka $(shell pkg-config --libs $(PKGS_LAB) 2>/dev/null) $(LDLIBS) -linih
$(B)/test/%_test: $(B)/test/%_test.o $(TESTLIB_O) $(CLIENT_O) $(LINKED)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $< $(TESTLIB_O) $(CLIENT_O) $(LINKED) -o $@ -lcmocka $(shell pkg-config --libs $(PKGS_QMT) 2>/dev/null) $(LDLIBS) -linih
$(B)/test/tools/%: $(B)/test/tools/%.o $(LINKED)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(shell pkg-config --libs $(PKGS_QMT) 2>/dev/null) $(LDLIBS) -linih
$(B)/bench/%: $(B)/test/bench/%.o $(LINKED)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(LDLIBS) -linih
# Whole nodes in one process: nothing of cmd/, so the two archives are all. Allocations can fail: test/sim/sim_memory.c.
$(B)/test/sim/sim: LDFLAGS += $(foreach f,malloc calloc realloc aligned_alloc strdup,-Wl,--wrap=$(f))
$(B)/test/sim/sim: $(SIM_O) $(B)/libqmt.a $(B)/libqmt-actor.a
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(LDLIBS)

# <qmt/...> as it will be installed
$(B)/include/qmt:
	@mkdir -p $(@D)
	@ln -sfn $(CURDIR)/runtime $@
$(B)/docs/examples/actors/%.o: CPPFLAGS += -I$(B)/include
$(EXAMPLE_C:%.c=$(B)/%.o): | $(B)/include/qmt
$(filter-out $(EXAMPLES_MESH),$(EXAMPLES)): $(B)/examples/%: $(B)/docs/examples/actors/%.o $(B)/libqmt-actor.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) $^ -o $@
$(EXAMPLES_MESH): $(B)/examples/%: $(B)/docs/examples/actors/%.o $(B)/libqmt.a $(B)/libqmt-actor.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)

tests: all $(UNIT) $(TOOLS) $(B)/test/sim/sim

-include $(ALL_C:%.c=$(B)/%.d) $(CMD_CXX:%.cpp=$(B)/%.d)
.SECONDARY:

# ---- set-up ----------------------------------------------------------------------------------------------------------
DEPS := gcc g++ make pkg-config libzmq3-dev libczmq-dev libsodium-dev libmsgpack-dev libsqlite3-dev libinih-dev libjansson-dev \
        libcurl4-openssl-dev libtomlplusplus-dev libqrencode-dev libuv1-dev libcmocka-dev nftables python3 python3-pytest ca-certificates
DEPS_DEV := zbar-tools clang clang-format libclang-rt-14-dev strace valgrind linux-perf
MISSING = $(shell dpkg-query -W -f='$${Package} $${db:Status-Abbrev}\n' $(1) 2>/dev/null | awk '$$2=="ii"{print $$1}' | sort > /tmp/.qmt-have-$$$$; \
        printf '%s\n' $(1) | sort | comm -23 - /tmp/.qmt-have-$$$$; rm -f /tmp/.qmt-have-$$$$)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PYTHON ?= /usr/bin/python3
JOBS ?= $(shell nproc)

.PHONY: deps deps-dev ready
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends
# Installs what of $(1) is missing.
define install_missing
	@missing="$(strip $(call MISSING,$(1)))"; [ -z "$$missing" ] || { \
	  echo "installing: $$missing"; $(SUDO) apt-get -qq update && $(APT) install $$missing >/dev/null; }
endef
## set-up: installs the Debian packages that are missing (sudo when not root)
deps:
	$(call install_missing,$(DEPS))
	@echo "all packages are installed"
## set-up: what `make lint`, fuzzing and profiling need besides
deps-dev: deps
	$(call install_missing,$(DEPS_DEV))
ready:
	@[ -z "$(strip $(call MISSING,$(DEPS)))" ] || $(MAKE) --no-print-directory deps

# ---- try it ----------------------------------------------------------------------------------------------------------
.PHONY: demo
## try: two nodes on loopback hold a conversation with tools, restart, and show the history
demo: ready
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/qmtd $(B)/qmt
	@BUILD=$(B) sh cmd/demo.sh

# ---- test ------------------------------------------------------------------------------------------------------------
.PHONY: test check lint bench cover fuzz sim planted help install uninstall clean
## test: everything; the parts are unit port sim mesh cli e2e fuzz (PART="port unit/runtime cli/test_local.py" runs some)
test: ready
	@$(PYTHON) test/run.py --check $(PART)
	@$(MAKE) --no-print-directory -j$(JOBS) tests $(if $(filter fuzz,$(or $(PART),fuzz)),$(B)/test/fuzz/replay-all)
	@$(PYTHON) test/run.py --build $(B) $(PART)
check: test

$(B)/test/fuzz/%_replay: $(B)/test/fuzz/replay.o $(B)/test/fuzz/%_fuzz.o $(LINKED)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(LDLIBS) -linih
REPLAY := $(FUZZ_C:test/fuzz/%_fuzz.c=$(B)/test/fuzz/%_replay)
.PHONY: $(B)/test/fuzz/replay-all
$(B)/test/fuzz/replay-all: $(REPLAY)

## test: whole nodes in SEEDS=10000 seeded runs with random faults; `make test` has 200 of them
SEEDS ?= 10000
sim: ready
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/test/sim/sim
	@QMT_SIM_SEEDS=$(SEEDS) $(PYTHON) test/run.py --build $(B) sim

## test: each scenario of test/mesh turns red when its planted fault is carried out; test/sim finds each planted patch
planted: all $(B)/test/sim/sim
	@$(B)/qmt-lab run --planted test/mesh/*.lab
	@BUILD=$(B) sh test/sim/planted.sh

## test: the structure: arrows between layers, style, docs that are made from tables, rows of docs/acceptance.md
lint:
	@$(MAKE) --no-print-directory -j$(JOBS) tests >/dev/null
	@BUILD=$(B) sh test/lint/lint.sh

## test: coverage-guided fuzzing with clang, SECONDS=60 each
SECONDS_EACH ?= 60
fuzz:
	@BUILD=$(B) SECONDS_EACH=$(SECONDS_EACH) sh test/fuzz/fuzz.sh

## measure: our figures beside the raw limits and the installed peers, under 10 minutes (docs/performance.md)
bench: all
	@$(PYTHON) test/bench/bench.py --build $(B) $(BENCH_ARGS)

## measure: prints the functions that no unit or port test ran
cover:
	@$(MAKE) --no-print-directory COVER=1 -j$(JOBS) tests
	@$(PYTHON) test/run.py --build build/cover unit port >/dev/null; $(PYTHON) test/tools/uncovered.py build/cover runtime=90

## docs: writes the pages that are made from tables: docs/protocol.md, docs/configuration.md, docs/man, the table in docs/security.md
docs: $(MAINS:%=$(B)/%) $(TOOLS)
	@mkdir -p docs/man
	@$(B)/qmt help man > docs/man/qmt.1 && $(B)/qmtd --man > docs/man/qmtd.1
	@$(B)/qmt-lab help man > docs/man/qmt-lab.1
	@for page in $(TOOLS); do case $$page in *protocol_doc) $$page > docs/protocol.md;; *config_doc) $$page > docs/configuration.md;; esac; done
	@BUILD=$(B) sh test/lint/security.sh write
.PHONY: docs

# ---- install ---------------------------------------------------------------------------------------------------------
PUBLIC_H := runtime/actor.h runtime/system.h runtime/port.h runtime/message.h runtime/failures.def runtime/test_kit.h \
            runtime/pool.h runtime/delivery.h runtime/pubsub.h runtime/broker.h runtime/names.h runtime/interval.h runtime/stream.h runtime/states.h
PUBLIC_BASE_H := runtime/base/bytes.h runtime/base/err.h runtime/base/log.h
## install: programs, library, headers, man pages and examples below PREFIX (default /usr/local; DESTDIR works)
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/qmt/base $(DESTDIR)$(PREFIX)/share/man/man1 \
	  $(DESTDIR)$(PREFIX)/share/doc/qmt/examples
	install -m 755 $(MAINS:%=$(B)/%) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(B)/libqmt-actor.a $(DESTDIR)$(PREFIX)/lib
	install -Dm 755 $(B)/libqmt-lab-clock.so $(DESTDIR)$(PREFIX)/lib/qmt/libqmt-lab-clock.so
	install -d $(DESTDIR)$(PREFIX)/share/doc/qmt/scenarios
	install -m 644 $(wildcard test/mesh/*.lab) $(DESTDIR)$(PREFIX)/share/doc/qmt/scenarios
	install -m 755 $(B)/libqmt-actor.so $(DESTDIR)$(PREFIX)/lib/libqmt-actor.so.0
	ln -sf libqmt-actor.so.0 $(DESTDIR)$(PREFIX)/lib/libqmt-actor.so
	install -m 644 $(PUBLIC_H) $(DESTDIR)$(PREFIX)/include/qmt
	install -m 644 $(PUBLIC_BASE_H) $(DESTDIR)$(PREFIX)/include/qmt/base
	install -m 644 $(wildcard docs/examples/*.toml docs/examples/*.ini docs/examples/*.script) $(DESTDIR)$(PREFIX)/share/doc/qmt/examples
	install -d $(DESTDIR)$(PREFIX)/share/doc/qmt/examples/actors
	install -m 644 $(wildcard docs/examples/actors/*) $(DESTDIR)$(PREFIX)/share/doc/qmt/examples/actors
	printf '%s\n' 'prefix=$(abspath $(PREFIX))' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' 'Name: qmt-actor' \
	  'Description: actors for C: mailboxes, supervision, a seeded mode for tests' 'Version: $(VERSION)' \
	  'Libs: -L$${libdir} -lqmt-actor' 'Libs.private: -pthread' 'Cflags: -I$${includedir}' \
	  > $(DESTDIR)$(PREFIX)/lib/pkgconfig/qmt-actor.pc
	chmod 644 $(DESTDIR)$(PREFIX)/lib/pkgconfig/qmt-actor.pc
	install -m 644 $(wildcard docs/man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1
uninstall:
	rm -rf $(MAINS:%=$(DESTDIR)$(PREFIX)/bin/%) $(DESTDIR)$(PREFIX)/lib/libqmt-actor.* \
	  $(DESTDIR)$(PREFIX)/lib/pkgconfig/qmt-actor.pc $(DESTDIR)$(PREFIX)/lib/qmt \
	  $(DESTDIR)$(PREFIX)/include/qmt $(DESTDIR)$(PREFIX)/share/doc/qmt \
	  $(patsubst docs/man/%,$(DESTDIR)$(PREFIX)/share/man/man1/%,$(wildcard docs/man/*.1))
clean:
	rm -rf build
## help: this list
help:
	@printf 'make              builds everything into build/ (SAN=asan|tsan, CC=clang, V=1)\n'
	@awk '/^## /{doc=substr($$0,4); next} doc && /^[a-z-]+:/{split($$0,a,":"); printf "make %-12s %s\n", a[1], doc; doc=""}' \
	  $(firstword $(MAKEFILE_LIST)) | grep -v '^make all'
