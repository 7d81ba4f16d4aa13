#!/bin/sh
"exec" "python3" "-B" "$0" "$@"  # python below; to sh this line is a command, to python a string
"""The arrows between the folders, the homes of third-party headers, and the one door to the operating system.

cmd -> actors -> proto -> runtime/base; actors -> runtime; transports -> runtime, proto. An actor module includes no
other one. A rule is broken with a line in EXCEPTIONS and its reason; a line that is not needed any more is a finding.
"""
import os
import re

from source import C_ENDS, Findings, blank, files, read

# ---- arrows ----------------------------------------------------------------------------------------------------------
# Public headers of runtime/: what is installed, and what those include.
RUNTIME_API = ("runtime/actor.h", "runtime/system.h", "runtime/port.h", "runtime/message.h", "runtime/failures.def",
               "runtime/pool.h", "runtime/delivery.h", "runtime/pubsub.h", "runtime/broker.h", "runtime/names.h", "runtime/interval.h",
               "runtime/stream.h", "runtime/states.h", "runtime/base/")
# proto walks the field tables that message.h declares; it knows nothing else of the runtime.
ARROWS = (  # folder, what it may include besides itself; the first that fits counts
    ("runtime/base/", ()),
    ("runtime/", ("runtime/base/",)),
    ("proto/", ("runtime/base/", "runtime/message.h")),
    ("transports/", RUNTIME_API + ("proto/",)),
    ("actors/", RUNTIME_API + ("proto/",)),
    ("cmd/", RUNTIME_API + ("proto/", "transports/", "actors/")),
    ("test/", ("",)),
)

# ---- third-party headers ---------------------------------------------------------------------------------------------
HOMES = (  # header, what it belongs to, folders or files (prefixes); test/ may include all of them
    (r"zmq\.h", "libzmq", ("transports/", "cmd/lab/peer_hostile.c")),
    (r"msgpack.*", "msgpack", ("proto/",)),
    (r"jansson\.h", "jansson", ("proto/",)),
    (r"sodium.*", "libsodium", ("proto/", "transports/")),
    (r"sqlite3.*", "SQLite", ("actors/store",)),
    (r"curl/.*", "libcurl", ("actors/provider",)),
    (r"microhttpd\.h", "libmicrohttpd", ("actors/http",)),
    (r"toml\+\+/.*", "toml++", ("cmd/",)),
    (r"(INIReader|ini)\.h", "inih", ("cmd/",)),
    (r"qrencode\.h", "qrencode", ("cmd/",)),
    (r"czmq(_library)?\.h|z(sys|sock|msg|frame|actor|cert|auth|poller|loop)\.h", "czmq",
     ("transports/control_client.c",)),
    (r"uv\.h", "libuv", ("cmd/lab/", "cmd/qmt-lab.c")),
    (r"cmocka\.h", "cmocka", ()),
    (r"qmt/.*", "libqmt-actor, as installed,", ("docs/examples/actors/",)),
)

# The C library, Linux and the C++ library have no home; what is in neither table needs one.
CXX = """algorithm any array bit bitset charconv chrono deque exception filesystem fstream
    functional initializer_list iomanip ios iosfwd iostream istream iterator limits list map memory
    mutex new numeric optional ostream queue random regex set span sstream stack string string_view
    system_error thread tuple type_traits typeinfo typeindex unordered_map unordered_set utility
    variant vector version""".split()
LIBC = """aio alloca assert byteswap complex cpio ctype dirent dlfcn elf endian err errno error
    execinfo fcntl features fenv float fnmatch ftw getopt glob grp iconv ifaddrs immintrin inttypes
    iso646 langinfo libgen limits link locale malloc math memory mntent monetary mqueue netdb
    nl_types nmmintrin paths poll pthread pty pwd regex resolv sched search semaphore setjmp shadow
    signal spawn stab string strings syscall sysexits syslog tar termios tgmath threads time uchar
    ucontext ulimit unistd utime utmp utmpx values wait wchar wctype wordexp x86intrin
    xmmintrin""".split()
FOLDERS = "sys linux net netinet arpa bits asm sanitizer valgrind".split()


def is_system(header):
    folder, slash, _ = header.partition("/")
    stem, dot, _ = header.partition(".")
    if slash:
        return folder in FOLDERS
    if dot:
        return stem in LIBC or re.fullmatch(r"std\w+\.h", header) is not None
    return stem in CXX or re.fullmatch(r"c[a-z]+", stem) is not None

# ---- the one door to the operating system ----------------------------------------------------------------------------
OS = ("runtime/base/os",)
CALLS = (  # what, functions, where (prefixes), the way out
    ("the clock", "clock_gettime clock_getres clock_nanosleep gettimeofday timespec_get time ftime clock", OS,
     "qmt_now_ms or qmt_os_now_ns"),
    ("sleeping", "sleep usleep nanosleep thrd_sleep", (), "a timer (qmt_timer_start) or an event"),
    ("randomness", "getrandom getentropy random srandom rand srand rand_r drand48 lrand48 mrand48 arc4random "
     "arc4random_buf arc4random_uniform randombytes_buf randombytes_random randombytes_uniform randombytes", OS,
     "qmt_random or qmt_os_random"),
    ("children", "fork vfork clone clone3 posix_spawn posix_spawnp popen system execl execle execlp execv execve "
     "execvp execvpe fexecve daemon wordexp waitpid waitid wait wait4", OS, "qmt_child_start"),
    ("threads", "pthread_create thrd_create", OS, "qmt_job_start, own_thread or qmt_os_thread_start"),
    ("descriptors of events", "epoll_create epoll_create1 eventfd timerfd_create signalfd inotify_init inotify_init1 "
     "pidfd_open pipe pipe2 memfd_create", OS + ("runtime/",), "qmt_fd_watch, qmt_timer_start, qmt_child_start"),
    ("sockets", "socket socketpair accept accept4", (), "a transport"),
    ("files", "open open64 openat openat2 creat fopen fdopen freopen opendir fdopendir tmpfile mkstemp mkostemp "
     "mkdtemp", OS, "qmt_os_file_read or qmt_os_file_write"),
)

EXCEPTIONS = (  # file (or folder with /), function (* all), why
    ("cmd/lab/", "*", "the harness stands outside every system: it makes what nodes live in"),
    ("runtime/clock.h", "clock_gettime", "the coarse clock of the hot path; a seeded system goes to os.h"),
    ("runtime/job.c", "clock_gettime", "pthread_cond_timedwait takes an absolute time; a seeded system has no pool"),
    ("transports/zmq_context.c", "eventfd", "waits with a deadline for zmq_ctx_term, after the runtime has gone"),
    ("cmd/", "signalfd", "signals are read in one place: the main program"),
    ("cmd/qmtd.c", "socket", "sd_notify"),
    ("cmd/home.c", "open", "the lock of the home stays open"),
    ("actors/session/", "open", "the workspace opens its root once"),
    ("actors/session/", "openat", "and all else below it"),
    ("actors/session/", "openat2", "and all else below it"),
    ("actors/session/", "fdopendir", "lists a folder that was opened below the root"),
)


def layer_of(path):
    return next((arrow for arrow in ARROWS if path.startswith(arrow[0])), None)


def module_of(path):
    """actors/store/x.c and actors/store_x.c are both of the module "store"."""
    name = path.split("/")[1]
    return re.split(r"[_.]", name)[0] if path.count("/") == 1 else name


def resolve(path, target):
    """The project's file that `#include "target"` means; None: not one of ours."""
    for base in (os.path.dirname(path), ""):
        joined = os.path.normpath(os.path.join(base, target))
        if os.path.exists(joined):
            return joined
    return None


def check_arrow(found, path, line, target):
    layer = layer_of(path)
    if layer is None:
        return
    if not target.startswith((layer[0],) + layer[1]):
        allowed = ", ".join((layer[0],) + layer[1])
        found.fail(path, line, f"{layer[0]} must not include {target} (allowed: {allowed})")
    elif path.startswith("actors/") and target.startswith("actors/") and module_of(path) != module_of(target):
        found.fail(path, line, f"the actor module {module_of(path)} must not include {target}: "
                               "actors meet in proto/contract only")
    elif path.startswith("cmd/") and target.startswith("transports/") and target.endswith("_internal.h"):
        found.fail(path, line, f"{target} is not for other folders")
    elif target.endswith(".c") and not path.startswith("test/"):
        found.fail(path, line, f"{target}: a .c file is included by tests only")


def check_home(found, path, line, header):
    if path.startswith("test/"):
        return
    for pattern, name, homes in HOMES:
        if re.fullmatch(pattern, header):
            if not path.startswith(homes):
                found.fail(path, line, f"<{header}>: {name} is at home in {' and '.join(homes) or 'test/'} only")
            return
    if not is_system(header):
        found.fail(path, line, f"<{header}>: neither the C library's nor a known third party's: "
                               "give it a home in test/lint/deps.sh")


INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)


def check_includes(found, path, text):
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        target = match.group(1) and resolve(path, match.group(1))
        if target:
            check_arrow(found, path, line, target)
        else:
            check_home(found, path, line, match.group(1) or match.group(2))


CALL = {}
for what, names, where, way_out in CALLS:
    for name in names.split():
        CALL[name] = (what, where, way_out)
# A call: not a member (x.time, x->open), and not the declaration of a function with such a name.
CALL_PATTERN = re.compile(r"(?<![\w.>])(" + "|".join(sorted(CALL, key=len, reverse=True)) + r")[ \t]*\(")


def check_calls(found, used, path, text):
    for match in CALL_PATTERN.finditer(text):
        name = match.group(1)
        what, where, way_out = CALL[name]
        if where and path.startswith(where):
            continue
        index = next((i for i, (place, call, _) in enumerate(EXCEPTIONS) if call in (name, "*") and
                      (path == place or (place.endswith("/") and path.startswith(place)))), None)
        if index is not None:
            used.add(index)
            continue
        line = text.count("\n", 0, match.start()) + 1
        found.fail(path, line, f"{name}(): {what} only through runtime/base/os.h: use {way_out}")


def main():
    found, used = Findings("deps"), set()
    for path in files(*C_ENDS):
        text = read(path)
        check_includes(found, path, blank(text, keep_strings=True))
        if not path.startswith("test/"):
            check_calls(found, used, path, blank(text))
    for i, (place, call, _) in enumerate(EXCEPTIONS):
        if i not in used and os.path.isfile(place):
            found.fail("test/lint/deps.sh", 0, f"the exception for {call}() in {place} is not needed any more")
    found.end()


main()
