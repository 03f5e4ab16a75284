# shellcheck shell=sh disable=SC1090,SC3045
# What every process of a cluster shares; sourced (by sh or bash) by node.sh, `ray exec` and jobs.
# A variable that is already set stays, except the token mode: nothing here runs without it.
export DAAM_HOME="${DAAM_HOME:-$HOME/daam}"
if [ -d "$DAAM_HOME/.venv" ]; then
    export PATH="$DAAM_HOME/.venv/bin:$PATH"
fi
cd "$DAAM_HOME" || return 1

# What belongs to this site alone, such as the store's address and keys.
for site in "$HOME"/.config/daam/*.sh; do
    if [ -f "$site" ]; then
        . "$site"
    fi
done
unset site

ulimit -n "$(ulimit -H -n)"
unset OMP_NUM_THREADS # `ray up` sets it to 1; unset, Ray gives a worker as many as it has CPUs

export RAY_TMPDIR="${RAY_TMPDIR:-/tmp}" # not $TMPDIR, which may be too long for Ray's sockets
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
# The first of seven ports that node.sh gives to Ray.
export DAAM_PORT="${DAAM_PORT:-6379}"
# A host that vanished is known after 15-20 s; the default takes about a minute.
export RAY_health_check_period_ms="${RAY_health_check_period_ms:-1000}"
export RAY_health_check_timeout_ms="${RAY_health_check_timeout_ms:-3000}"
export RAY_health_check_failure_threshold="${RAY_health_check_failure_threshold:-5}"
# A cold or busy host may take longer than Ray's 30 s to start a raylet and its agents.
export RAY_raylet_start_wait_time_s="${RAY_raylet_start_wait_time_s:-120}"
export RAY_agent_register_timeout_ms="${RAY_agent_register_timeout_ms:-120000}"
# Reports in 0.2 s, not 2 s; no minute of waiting for a host that will not return.
export RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="${RAY_TRAIN_HEALTH_CHECK_INTERVAL_S:-0.2}"
export RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="${RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S:-20}"
