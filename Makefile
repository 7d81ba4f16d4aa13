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

PKGS    := libzmq libsodium jansson sqlite3 libcurl
PKGS_QMT := libczmq
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wformat=2 -Werror
SANFLAGS_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SANFLAGS_tsan := -fsanitize=thread -fno-omit-frame-pointer $(if $(findstring gcc,$(CC)),-Wno-tsan)
SANFLAGS := $(SANFLAGS_$(SAN))
OPT     := $(if $(SAN),-O1,$(if $(COVER),-O0 --coverage,-O2)) -g
CPPFLAGS += -I. -include runtime/base/poison.h -D_GNU_SOURCE -DQMT_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS  += -std=gnu11 $(WARN) $(OPT) $(SANFLAGS) -fvisibility=hidden -fPIC -pthread
CXXFLAGS += -std=c++17 -Wall -Wextra -Werror $(OPT) $(SANFLAGS) -fvisibility=hidden -fno-rtti -pthread -I.
LDFLAGS += $(SANFLAGS) $(if $(COVER),--coverage) -pthread
LDLIBS  += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lmsgpackc -lm

# ---- what there is: the tree decides ---------------------------------------------------------------------------------
RUNTIME_C := $(wildcard runtime/*.c runtime/base/*.c)
LIB_C     := $(wildcard proto/*.c proto/*/*.c transports/*.c actors/*.c actors/*/*.c)
CMD_C     := $(wildcard cmd/*.c)
CMD_CXX   := $(wildcard cmd/*.cpp)
CLIENT_C  := transports/control_client.c
LIB_C     := $(filter-out $(CLIENT_C),$(LIB_C))
MAINS     := qmtd qmt
MAIN_C    := $(MAINS:%=cmd/%.c)
CMD_LIB_C := $(filter-out $(MAIN_C),$(CMD_C))

UNIT_C    := $(shell find test/unit test/port -name '*_test.c' 2>/dev/null | sort)
UNIT      := $(UNIT_C:%.c=$(B)/%)
TESTLIB_C := $(wildcard test/lib/*.c)
TOOL_C    := $(wildcard test/tools/*.c)
TOOLS     := $(TOOL_C:%.c=$(B)/%)
BENCH_C   := $(wildcard test/bench/*.c)
BENCH     := $(BENCH_C:test/bench/%.c=$(B)/bench/%)
FUZZ_C    := $(wildcard test/fuzz/*_fuzz.c)
FUZZ      := $(FUZZ_C:%.c=$(B)/%)

obj = $(patsubst %.c,$(B)/%.o,$(filter %.c,$(1))) $(patsubst %.cpp,$(B)/%.o,$(filter %.cpp,$(1)))
RUNTIME_O := $(call obj,$(RUNTIME_C))
LIB_O     := $(call obj,$(LIB_C))
CLIENT_O  := $(call obj,$(CLIENT_C))
CMD_O     := $(call obj,$(CMD_LIB_C) $(CMD_CXX))
TESTLIB_O := $(call obj,$(TESTLIB_C))
ALL_C     := $(RUNTIME_C) $(LIB_C) $(CLIENT_C) $(CMD_C) $(UNIT_C) $(TESTLIB_C) $(TOOL_C) $(BENCH_C) $(FUZZ_C)

.DEFAULT_GOAL := all
.PHONY: all tests
## build: everything into build/: qmtd, qmt, libqmt-actor, benchmarks  [all]
all: $(B)/libqmt-actor.a $(B)/libqmt-actor.so $(B)/libqmt.a $(MAINS:%=$(B)/%) $(BENCH)

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
$(B)/test/%_test: $(B)/test/%_test.o $(TESTLIB_O) $(CLIENT_O) $(LINKED)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $< $(TESTLIB_O) $(CLIENT_O) $(LINKED) -o $@ -lcmocka $(shell pkg-config --libs $(PKGS_QMT) 2>/dev/null) $(LDLIBS) -linih
$(B)/test/tools/%: $(B)/test/tools/%.o $(LINKED)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(shell pkg-config --libs $(PKGS_QMT) 2>/dev/null) $(LDLIBS) -linih
$(B)/bench/%: $(B)/test/bench/%.o $(LINKED)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CXX) $(LDFLAGS) $^ -o $@ $(LDLIBS) -linih

tests: all $(UNIT) $(TOOLS)

-include $(ALL_C:%.c=$(B)/%.d) $(CMD_CXX:%.cpp=$(B)/%.d)
.SECONDARY:
