#!/bin/sh
# Shows that each check fails on what it is there for: plants violations in a small tree of its own and wants each of
# them named with file and line. The tree starts clean, so that the state of the real one does not matter; each
# violation is in a file of its own, so that one run of a check can be asked about all of them.
set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT
failed=0
CC=${CC:-cc}
BUILD=build
export BUILD

# put FILE: its content comes on stdin
put() {
	mkdir -p "$tree/$(dirname "$1")" && cat >"$tree/$1"
}

mkdir -p "$tree/test/lint" "$tree/build/runtime"
for file in deps.sh style.sh acceptance.sh names.sh source.py; do cp "$here/$file" "$tree/test/lint/"; done
put Makefile <<'END'
lint test: all
	true
END
printf 'int qmt_nothing(void);\n' | put runtime/actor.h
printf 'int qmt_word;\n' | put runtime/internal.h
printf 'int qmt_text(void);\n' | put runtime/base/bytes.h
printf 'struct list;\n' | put proto/list.h
printf 'struct link;\n' | put transports/link.h
printf '#include "proto/list.h"\n#include "runtime/actor.h"\n' | put actors/one/one.h
printf '#include "actors/one/one.h"\n#include <stdio.h>\n' | put cmd/main.c
put runtime/nothing.c <<'END'
static const char *const names[] = {"a", "b"};
const char *nothing(int i);
const char *nothing(int i)
{
	return names[i];
}
END
put test/unit/one_test.c <<'END'
/* time() in a comment and "sleep(1)" in a string are none */
static void holds(void **state)
{
}
const struct CMUnitTest tests[] = {cmocka_unit_test(holds)};
void wait(void)
{
	usleep(1000); /* polls: only the file system tells */
}
END
printf 'def test_two():\n    pass\n' | put test/cli/two_test.py
put docs/acceptance.md <<'END'
| sentence | test or command | state |
|---|---|---|
| one holds | `test/unit/one_test.c:holds` | done |
| two holds | `test/cli/two_test.py:test_two`, `make lint` | done |
| a cell with `a | b` in it | `test/cli/two_test.py` | partly |
| three is to come | - | open |
END

compile() {
	"$CC" -c "$tree/$1" -o "$tree/build/${1%.c}.o"
}
compile runtime/nothing.c || exit 1

for check in deps style acceptance names; do
	if ! out=$(sh "$tree/test/lint/$check.sh" 2>&1); then
		failed=1
		printf 'selftest: %s fails on a clean tree:\n%s\n' "$check" "$out"
	fi
done

# plant CHECK EXPECTED FILE: puts stdin into FILE and notes what CHECK has to say. @ in both is a number of its own.
plant() {
	echo >>"$tree/count" # in a file, because a pipe's end is a process of its own
	number=$(wc -l <"$tree/count")
	file=$(echo "$3" | sed "s/@/v$number/")
	put "$file"
	printf '%s\n' "$2" | sed "s/@/v$number/" >>"$tree/$1.expected"
	case $1:$file in style:runtime/*.c) compile "$file" ;; esac
}

# judge CHECK: runs it over all that was planted for it.
judge() {
	if sh "$tree/test/lint/$1.sh" >"$tree/$1.said" 2>&1; then
		failed=1
		echo "selftest: $1 lets everything pass"
	fi
	while IFS= read -r expected; do
		if ! grep -qF -- "$expected" "$tree/$1.said"; then
			failed=1
			echo "selftest: $1 does not say: $expected"
		fi
	done <"$tree/$1.expected"
}

# ---- deps: arrows
plant deps runtime/base/@.c:2 runtime/base/@.c <<'END'
#include "bytes.h"
#include "runtime/actor.h"
END
include() { # FILE HEADER
	printf '\n#include "%s"\n' "$2" | plant deps "${1}:2" "$1"
}
include runtime/@.c proto/list.h
include proto/@.c ../actors/one/one.h
include proto/@.h runtime/actor.h
include transports/@.c runtime/internal.h
include transports/@.c actors/one/one.h
include actors/one/@.c transports/link.h
include actors/one/@.c runtime/internal.h
include actors/two/@.c ../one/one.h
include actors/two_@.c one/one.h
include cmd/@.c runtime/internal.h
include runtime/@.c runtime/nothing.c
# ---- deps: third-party headers
for pair in runtime/@.c=zmq.h proto/@.c=zmq.h cmd/@.c=czmq.h transports/@.c=czmq.h transports/@.c=msgpack.h \
	actors/one/@.c=jansson.h cmd/@.c=sodium.h actors/one/@.c=sodium.h runtime/base/@.c=sodium.h \
	actors/one/@.c=sqlite3.h actors/one/@.c=curl/curl.h actors/one/@.c=toml++/toml.h actors/one/@.c=ini.h \
	proto/@.c=qrencode.h cmd/@.c=microhttpd.h cmd/@.c=cmocka.h cmd/@.c=unheard/of.h; do
	printf '\n#include <%s>\n' "${pair#*=}" | plant deps "${pair%%=*}:2: <${pair#*=}>" "${pair%%=*}"
done
# ---- deps: the door to the operating system
call() { # FILE CALL
	printf '/* %s */\nint x = %s;\n' "$2" "$2" | plant deps "$1:2: ${2%%(*}()" "$1"
}
for c in 'clock_gettime(0, &t)' 'time(NULL)' 'getrandom(p, 1, 0)' 'rand()' 'fork()' 'vfork()' 'posix_spawn(p)' \
	'popen(p, q)' 'pthread_create(p)' 'eventfd(0, 0)' 'epoll_create1(0)' 'pipe2(p, 0)' 'socket(1, 2, 3)' \
	'open(p, 0)' 'fopen(p, q)' 'usleep(1)'; do
	call actors/one/@.c "$c"
done
call runtime/@.c 'fork()'
call runtime/@.c 'clock_gettime(0, &t)'
call runtime/base/@.c 'getrandom(p, 1, 0)'
printf 'int x;\n' | plant deps 'the exception for socket() in cmd/qmtd.c' cmd/qmtd.c
judge deps

# ---- style
printf 'int f(void)\n{\n    return 1;\n}\n' | plant style cmd/@.c:3 cmd/@.c
printf 'int f(void); \n' | plant style cmd/@.c:1 cmd/@.c
printf '\n/* %0117d */\n' 0 | plant style cmd/@.h:2 cmd/@.h
printf '\t/* %0113d */\n' 0 | plant style cmd/@.h:1 cmd/@.h
printf '\n# %0160d\n' 0 | plant style test/cli/@.py:2 test/cli/@.py
seq 700 | sed 's/.*/int x&;/' | plant style 'warning: cmd/@.h: 700 lines' cmd/@.h
printf 'int state_initialised = 1;\n' | plant style 'runtime/@.c:0: state_initialised' runtime/@.c
printf 'int state_zero;\n' | plant style 'runtime/@.c:0: state_zero' runtime/@.c
printf 'static int state_static;\nint *f(void)\n{\n\treturn &state_static;\n}\n' |
	plant style 'runtime/@.c:0: state_static' runtime/@.c
printf 'int *f(void)\n{\n\tstatic int state_local;\n\treturn &state_local;\n}\n' |
	plant style 'runtime/@.c:0: state_local' runtime/@.c
printf '_Thread_local int state_thread;\n' | plant style 'runtime/@.c:0: state_thread' runtime/@.c
printf 'void f(void)\n{\n\tsleep(1);\n}\n' | plant style test/unit/@_test.c:3 test/unit/@_test.c
printf '\tusleep(1);\n' | plant style test/lib/@.c:1 test/lib/@.c
printf '\tpoll(NULL, 0, 10);\n' | plant style test/unit/@_test.c:1 test/unit/@_test.c
printf 'import time\ntime.sleep(1)\n' | plant style test/cli/@_test.py:2 test/cli/@_test.py
printf 'true\nfor i in 1 2; do sleep 1; done\n' | plant style test/e2e/@.sh:2 test/e2e/@.sh
judge style
BUILD=no-such-folder
echo 'no objects here' >"$tree/style.expected"
judge style

# ---- names (put together here, as in names.sh)
for word in "/wo""rk/main" "/ro""ot/x" "farm""-studio" "farm""-bench" "no dupli""cates" "https://pypi"".org/simple" \
	"registry"".npmjs.org"; do
	printf '\nsee %s\n' "$word" | plant names docs/@.md:2 docs/@.md
done
printf 'x\n' | plant names "docs/farm""-bench.md:0" "docs/farm""-bench.md"
judge names

# ---- acceptance: one more row each
line=6
row() { # SENTENCE SHOWN STATE EXPECTED
	echo >>"$tree/count"
	line=$((line + 1))
	printf '| %s | %s | %s |\n' "$1" "$2" "$3" >>"$tree/docs/acceptance.md"
	echo "docs/acceptance.md:$line: $4" >>"$tree/acceptance.expected"
}
row 1 '`test/unit/none_test.c`' done 'test/unit/none_test.c does not exist'
row 2 '`test/unit/one_test.c:gone`' done 'no test gone'
row 3 '`test/unit/one_test.c:tests`' done 'no test tests'
row 4 '`test/cli/two_test.py:test_gone`' done 'no test test_gone'
row 5 '`make fly`' done 'make has no target fly'
row 6 '`make lint`, `make fly`' open 'make has no target fly'
row 7 'some day' done 'some does not exist'
row 8 '`test/cli`' done 'test/cli is a folder'
row 9 - done 'state done, but nothing shows it'
row 10 - whenever 'no such state'
row 11 '`make lint` and more' done '"and more"'
row 'one holds' '`make lint`' done 'the same sentence as in line 3'
row 'a | b' '`make lint`' done '4 cells'
judge acceptance
echo '# no table' >"$tree/docs/acceptance.md"
echo 'no rows' >"$tree/acceptance.expected"
judge acceptance

[ $failed = 0 ] || exit 1
echo "selftest: $(wc -l <"$tree/count") planted violations are found"
