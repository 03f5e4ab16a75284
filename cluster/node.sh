#!/usr/bin/env bash
# One host of a cluster:
#
#   node.sh install           the environment in ~/daam/.venv: the locks and the wheel in wheel/
#   node.sh head [OPTIONS]    start Ray's head; OPTIONS are those of `ray start`
#   node.sh worker [OPTIONS]  start Ray's worker, whose head is at $RAY_HEAD_IP
#   node.sh stop              end all that this cluster runs on this host, and remove its scratch
#
# Each may be repeated: what is installed or runs already, from the same files and with the same
# options, is left alone. Messages also go to ~/daam/node.log.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cluster/environment.sh
. "$HERE/environment.sh" || exit 1

ATTEMPTS=${DAAM_START_ATTEMPTS:-5}
START_S=${DAAM_START_S:-180}      # for one attempt
STOP_S=10                         # from SIGTERM to SIGKILL
RAY_FOLDER=$RAY_TMPDIR/ray
SCRATCH=$RAY_FOLDER/tmp-$UID       # for temporary files of all that Ray starts
SESSIONS=$DAAM_HOME/sessions      # Ray's sessions that were started on this host
STARTED=$DAAM_HOME/started        # digest of what the last of them was started with
LOG=$DAAM_HOME/node.log
PYTHON=${PYTHON:-python3}
VENV=$DAAM_HOME/.venv
STAMP=$VENV/.daam-installed
FILES=$HERE/wheel                 # the wheel, the locks and SHA256SUMS; made by `daam cluster up`

say() { echo "node.sh: $*" | tee -a "$LOG"; }
fail() { say "$@" >&2; exit 1; }

install() {
    local wheel digest locked
    [ -f "$FILES/SHA256SUMS" ] ||
        fail "$FILES/SHA256SUMS is missing: start the cluster with 'daam cluster up', which makes it"
    (cd "$FILES" && sha256sum --check --quiet SHA256SUMS) ||
        fail "$FILES is damaged; run 'daam cluster up' again"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$PYTHON is older than 3.11; name another: export PYTHON=python3.12 in ~/.config/daam/python.sh"
    digest="$("$PYTHON" -VV) $(sha256sum <"$FILES/SHA256SUMS")"
    if [ "$(cat "$STAMP" 2>/dev/null)" = "$digest" ]; then
        return
    fi
    wheel=$FILES/$(awk '/\.whl$/ {print $2}' "$FILES/SHA256SUMS")
    say "installing $(basename "$wheel") and what it needs"
    test -x "$VENV/bin/python" || "$PYTHON" -m venv "$VENV" || fail "$PYTHON -m venv failed"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        -r "$FILES/requirements-uv.lock" || fail "uv could not be installed"
    locked=(--python "$VENV/bin/python" --require-hashes -r "$FILES/requirements.lock")
    # Bytecode is compiled for the whole environment, which takes long: only if something is new.
    "$VENV/bin/uv" pip install --dry-run "${locked[@]}" 2>&1 | grep -qi 'would make no changes' ||
        "$VENV/bin/uv" pip install --quiet --compile-bytecode "${locked[@]}" ||
        fail "the locked packages could not be installed"
    "$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps --reinstall "$wheel" ||
        fail "$wheel could not be installed"
    "$VENV/bin/python" -m compileall -q "$VENV"/lib/python3*/site-packages/{daam,tune}
    echo "$digest" >"$STAMP"
}

# The session of the head at an address; asked only if a port is open, for Ray would wait long.
session_of() {
    timeout 10 bash -c ": </dev/tcp/${1/:/\/}" 2>>"$LOG" || return 1
    "$VENV/bin/python" -c '
import sys
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
print(client.internal_kv_get(b"session_name", b"session", timeout=20).decode())' "$1" 2>>"$LOG"
}

# What a started Ray depends on, besides the session of its head.
start_digest() { cat "$STAMP" "$HERE/environment.sh" <(printf '%s\n' "$@") 2>/dev/null | sha256sum; }

# Processes of a session: what names its folder, or has a file or its working directory there.
pids_of() {
    {
        grep -ls -- "${1/session_/[s]ession_}" /proc/[0-9]*/cmdline
        find /proc/[0-9]*/fd /proc/[0-9]*/cwd -lname "$1/*" 2>/dev/null
    } | cut -d/ -f3 | sort -u
}

raylet_of() { pgrep -f "raylet/raylet .*$1" >/dev/null; }

remember() { grep -qsxF -- "$1" "$SESSIONS" || echo "$1" >>"$SESSIONS"; }

# SIGTERM to all but Ray's control store, to which the others say goodbye; then SIGKILL to the rest.
end_session() {
    local pid deadline=$((SECONDS + STOP_S)) is_waiting=true
    for pid in $(pids_of "$1"); do
        grep -qs gcs_server "/proc/$pid/cmdline" || kill "$pid" 2>/dev/null
    done
    while $is_waiting && [ "$SECONDS" -lt "$deadline" ]; do
        is_waiting=false
        for pid in $(pids_of "$1"); do
            grep -qs gcs_server "/proc/$pid/cmdline" || is_waiting=true
        done
        sleep 0.2
    done
    while [ -n "$(pids_of "$1")" ]; do # again: one that dies may have started another
        for pid in $(pids_of "$1"); do
            kill -KILL "$pid" 2>/dev/null
        done
        sleep 0.2
    done
}

stop() {
    local session
    [ -f "$SESSIONS" ] || return 0
    rm -f "$STARTED"
    while read -r session; do
        end_session "$session"
        rm -rf "$session"
    done <"$SESSIONS"
    rm -rf "$SESSIONS" "$SCRATCH"
    # Without another cluster's sessions, what is left are Ray's notes on the latest one, and locks.
    if [ -z "$(find "$RAY_FOLDER" -maxdepth 1 -type d -name 'session_*' 2>/dev/null)" ]; then
        rm -rf "$RAY_FOLDER"
    fi
    # Empty folders that daam's driver and Ray's autoscaler leave.
    find "$RAY_TMPDIR/daam-$UID" /tmp/ray_ssh_* -depth -type d -user "$UID" -empty -delete 2>/dev/null
    return 0
}

# The ports are fixed for two reasons. A raylet that has to learn from its agent which ones it chose
# waits 15 s, then aborts: on a busy or cold host it does. And a firewall can name them.
PORTS=(
    --node-manager-port=$((DAAM_PORT + 1))
    --object-manager-port=$((DAAM_PORT + 2))
    --runtime-env-agent-port=$((DAAM_PORT + 3))
    --dashboard-agent-grpc-port=$((DAAM_PORT + 4))
    --dashboard-agent-listen-port=$((DAAM_PORT + 5))
    --metrics-export-port=$((DAAM_PORT + 6))
)
# daam keeps images in memory-mapped files, not in Ray's object store: 1 GiB is plenty.
OPTIONS=("${PORTS[@]}" --object-store-memory=1073741824 --disable-usage-stats)

# Start Ray until it runs: `ray start` may fail, and so may the raylet after it has returned.
start() {
    local attempt session status
    for attempt in $(seq "$ATTEMPTS"); do
        stop
        mkdir -p "$SCRATCH"
        say "ray start, attempt $attempt of $ATTEMPTS"
        TMPDIR=$SCRATCH timeout --kill-after=10 "$START_S" \
            ray start "${OPTIONS[@]}" "$@" </dev/null >>"$LOG" 2>&1 9>&- &
        attend $!
        wait $!
        status=$?
        session=$(readlink "$RAY_FOLDER/session_latest") && remember "$session"
        if [ "$status" = 0 ] && agent_answers "$session"; then
            start_digest "$@" >"$STARTED"
            say "Ray runs"
            return
        fi
        case $status in
            0 | 143) say "the raylet ended: $(last_words "$session")" ;;
            124 | 137) say "ray start did not return within $START_S s" ;;
            *) say "ray start failed: $(grep -v '^\s*$' "$LOG" | tail -1)" ;;
        esac
        sleep $((attempt * 2))
    done
    stop
    fail "Ray did not start in $ATTEMPTS attempts; $LOG says more"
}

# Do what Ray leaves undone while `ray start` runs: it keeps one of the agent's ports from the raylet,
# which then waits for the agent's file with it; and it waits long for a raylet that has ended.
attend() {
    local raylet='' pid id session
    while kill -0 "$1" 2>/dev/null; do
        pid=$(pgrep -f -- "raylet/raylet .*--node_manager_port=$((DAAM_PORT + 1)) ")
        if [ -n "$pid" ] && [ -z "$raylet" ]; then
            raylet=$pid
            id=$(tr '\0' '\n' <"/proc/$pid/cmdline" | sed -n 's/^--node_id=//p')
            session=$(tr '\0' '\n' <"/proc/$pid/cmdline" | sed -n 's/^--session_dir=//p')
            printf %s $((DAAM_PORT + 5)) >"$session/dashboard_agent_listen_port_$id"
        elif [ -z "$pid" ] && [ -n "$raylet" ]; then
            kill "$1" 2>/dev/null
            return
        fi
        sleep 0.2
    done
}

# Whether the raylet's agent comes up: the raylet ends without it.
agent_answers() {
    local deadline=$((SECONDS + START_S))
    while raylet_of "$1" && [ "$SECONDS" -lt "$deadline" ]; do
        (: <"/dev/tcp/127.0.0.1/$((DAAM_PORT + 6))") 2>/dev/null && return
        sleep 0.5
    done
    return 1
}

# The line of the raylet's log that says why it ended, or its last.
last_words() {
    local logs=$1/logs
    { grep -hE ' [EFC] |Check failed' "$logs/raylet.out" || cat "$logs/raylet.err" "$logs/raylet.out"; } 2>/dev/null |
        tail -1 | cut -c1-300
}

is_running() { # SESSION OPTIONS
    local session=$1
    shift
    raylet_of "$session" && [ "$(cat "$STARTED" 2>/dev/null)" = "$(start_digest "$@")" ]
}

main() {
    local word=${1:-} session
    shift || true
    umask 077
    mkdir -p "$DAAM_HOME"
    exec 9>"$DAAM_HOME/node.lock"
    flock --timeout 1800 9 || fail "another node.sh has been busy on this host for half an hour"
    # Ray's autoscaler starts a lost host again without its set-up commands.
    if [ "$word" = head ] || [ "$word" = worker ]; then
        [ ! -f "$FILES/SHA256SUMS" ] || install
    fi
    case $word in
        install) install ;;
        head)
            set -- --head --port="$DAAM_PORT" --dashboard-host=127.0.0.1 --dashboard-port=8265 "$@"
            session=$(tail -1 "$SESSIONS" 2>/dev/null)
            if [ -n "$session" ] && is_running "$session" "$@"; then
                say "Ray's head runs already"
            else
                start "$@"
            fi
            ;;
        worker)
            local address=${RAY_HEAD_IP:?the address of the head}:$DAAM_PORT
            session=$(session_of "$address") || fail "no head answers at $address"
            if is_running "$RAY_FOLDER/$session" "$@"; then
                say "Ray's worker runs already"
            else
                start --address="$address" "$@"
            fi
            ;;
        stop) stop ;;
        *) fail "what shall it do? install, head, worker or stop" ;;
    esac
}

main "$@"
