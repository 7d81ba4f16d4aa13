#!/bin/sh
# make demo: two nodes on loopback. A session on `planner` talks; the model calls are made by a provider on `gpu`;
# the tools run
# on `planner`. Then both nodes restart, and the conversation is still there.
#   QMT_DEMO_BASE_URL, QMT_DEMO_MODEL, QMT_DEMO_API_KEY: use an OpenAI-compatible server instead of the built-in
# assistant
set -eu
build=$(cd "${BUILD:-build}" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/qmt-demo.XXXXXX")
planner_pid=""
gpu_pid=""
done=""

finish() {
	for pid in $planner_pid $gpu_pid; do kill "$pid" 2>/dev/null || :; done
	for pid in $planner_pid $gpu_pid; do wait "$pid" 2>/dev/null || :; done
	if [ -z "$done" ]; then
		for node in gpu planner; do [ -s "$dir/$node.log" ] && { echo "--- log of $node"; tail -n 20 "$dir/$node.log"; }; done
		echo "demo: failed; files are in $dir" >&2
	fi
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }
qmt() { "$build/qmt" "$@"; }

# start NODE: waits for its one line (the end of the process ends the wait too)
start() {
	rm -f "$dir/$1.ready"
	mkfifo "$dir/$1.ready"
	"$build/qmtd" --home "$dir/$1" "$dir/$1.toml" >"$dir/$1.ready" 2>>"$dir/$1.log" &
	eval "$1_pid=$!"
	line=""
	read -r line <"$dir/$1.ready" || { eval "wait \$$1_pid" || :; exit 1; }
	printf '%s\n' "$line"
}
stop() {
	eval "pid=\$$1_pid"
	kill -TERM "$pid"
	wait "$pid"
	eval "$1_pid="
}

mkdir -p "$dir/work"
tools='"read_tool", "write_file", "edit", "shell", "ls"'
if [ -n "${QMT_DEMO_BASE_URL:-}" ]; then
	kind=openai
	tools='"read_tool", "write_file", "edit", "ls"' # a model of which nothing is known gets no shell here
	model=""
	[ -n "${QMT_DEMO_MODEL:-}" ] && model="model = \"$QMT_DEMO_MODEL\""
	provider="base_url = \"$QMT_DEMO_BASE_URL\"
api_key = \"\${QMT_DEMO_API_KEY:-}\""
else
	kind=builtin; model=""; provider=""
fi

gpu_config() {
	cat >"$dir/gpu.toml" <<END
[mesh]
enabled = true
node_name = "gpu-server"
listen = "/ip4/127.0.0.1/tcp/$1"
discovery = "none"
capabilities = ["gpu"]

[[providers]]
name = "llm"
kind = "$kind"
$provider
END
}

say "1. a node that has the model (gpu-server)"
gpu_config 0
start gpu
port=$(printf '%s\n' "$line" | sed -n 's#.*/tcp/\([0-9]*\)/.*#\1#p')
gpu_config "$port"

say "2. a node that has the user and the files (planner)"
cat >"$dir/planner.toml" <<END
[mesh]
enabled = true
node_name = "planner"
listen = "/ip4/127.0.0.1/tcp/0"
discovery = "none"
capabilities = ["cpu"]

[[mesh.peers]]
name = "gpu-server"
addr = "/ip4/127.0.0.1/tcp/$port"

[agent]
id = "coder"
provider = "llm"
$model
peer = "gpu-server"
cwd = "work"
system = "You are a careful programmer."
tools = [$tools]
END
start planner
export QMT_HOME="$dir/planner"
qmt peers --wait gpu-server
run qmt nodes

say "3. three turns: the answer streams from gpu-server, the tools run on planner"
session=$(qmt session create --name demo)
echo "session $session"
ask() {
	printf '\n\033[1myou>\033[0m %s\n' "$1"
	qmt chat demo "$1"
}
ask "write notes.txt: The quick brown fox"
ask "edit notes.txt: brown => red"
ask "read notes.txt"

say "4. both nodes restart"
stop planner
stop gpu
start gpu
start planner
qmt peers --wait gpu-server

say "5. the session is still there"
run qmt session resume demo
run qmt session show demo
ask "list ."
run qmt status

say "6. everything stops"
stop planner
stop gpu
done=yes
cat <<END

What you can try now (the nodes' files are in $dir):
  $build/qmtd --home $dir/gpu $dir/gpu.toml &
  $build/qmtd --home $dir/planner $dir/planner.toml &
  export QMT_HOME=$dir/planner
  $build/qmt chat demo "run uname -a"
  $build/qmt session list
  $build/qmt models
  make help
END
