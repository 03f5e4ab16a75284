#!/usr/bin/env bash
# A study or a training on the nodes of one Slurm job. The arguments are those of `daam`:
#
#   sbatch --nodes=4 --gpus-per-node=2 ~/daam/cluster/slurm.sh \
#       tune --preset STUDY --name NAME --storage s3://bucket/studies --set data.root=s3://bucket/domains
#
# daam is in ~/daam/.venv, which all nodes see; docs/guides/other-clusters.md says how it comes there.
# Two minutes before the time limit daam is stopped and the job queued again. A job that was, for
# this reason or because a node failed or was preempted, goes on with its study.
#SBATCH --job-name=daam
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail
umask 077

export DAAM_CODE=${DAAM_HOME:-$HOME/daam}
# On each node, and short: the paths of Ray's sockets may have 107 characters.
export DAAM_HOME=/tmp/daam-job-$SLURM_JOB_ID
export TMPDIR=$DAAM_HOME RAY_TMPDIR=$DAAM_HOME
# Nine ports that no other of the last 1200 jobs has.
export DAAM_PORT=$((20000 + SLURM_JOB_ID % 1200 * 10))
# A token for this job alone, in a file that all nodes see and others may not read.
export RAY_AUTH_TOKEN_PATH=$DAAM_CODE/token-$SLURM_JOB_ID
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH"

# Run Ray on this node until the step is ended.
# shellcheck disable=SC2329  # called by the bash of each task
on_node() {
    mkdir -p "$DAAM_HOME"
    ln -sfn "$DAAM_CODE/.venv" "$DAAM_HOME/.venv"
    # pkill: node.sh does not know of a Ray whose start was cut short.
    trap '"$DAAM_CODE/cluster/node.sh" stop; pkill -KILL -f "$DAAM_HOME/ray/"; rm -rf "$DAAM_HOME"' EXIT
    trap 'kill $(jobs -p) 2>/dev/null; exit 0' TERM
    # Slurm's share of the node, not all of it; GPUs come by CUDA_VISIBLE_DEVICES. Port 0: any that is free.
    "$DAAM_CODE/cluster/node.sh" "$@" --num-cpus="$SLURM_CPUS_ON_NODE" \
        --min-worker-port=0 --max-worker-port=0 &
    wait $! || exit 1 # in the background, so that a signal need not wait
    touch "$DAAM_HOME/ready"
    sleep infinity &
    wait
}
export -f on_node

# One task on each of some nodes of the job, with all that the job has there.
on_nodes() { srun --cpus-per-task="$SLURM_CPUS_ON_NODE" --overlap --kill-on-bad-exit=0 --input=none "$@"; }

driver=
stopped=
trap 'stopped=yes; [ -z "$driver" ] || kill -TERM "$driver"' TERM
# shellcheck disable=SC2329  # called at the end
finish() {
    local code=$?
    trap '' TERM
    scancel --quiet --signal=TERM "$SLURM_JOB_ID" || true # the steps: they stop Ray and remove what it left
    wait || true
    rm -f "$RAY_AUTH_TOKEN_PATH"
    # A job that somebody cancelled is no longer running.
    if [ -n "$stopped" ] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$code"
}
trap finish EXIT

# shellcheck disable=SC2016  # the task's bash expands it
on_nodes --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" bash -c \
    'on_node head --dashboard-port=$((DAAM_PORT + 7)) --ray-client-server-port=$((DAAM_PORT + 8))' &
head=$!
until [ -f "$DAAM_HOME/ready" ]; do
    kill -0 "$head" 2>/dev/null || exit 1
    [ -z "$stopped" ] || exit 143
    sleep 1
done
address=$(<"$RAY_TMPDIR/ray/ray_current_cluster")
echo "The head is on $SLURMD_NODENAME; Ray's dashboard: 127.0.0.1:$((DAAM_PORT + 7)) there"
export RAY_HEAD_IP=${address%:*}
if [ "$SLURM_NNODES" -gt 1 ]; then
    on_nodes --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$SLURMD_NODENAME" \
        bash -c 'on_node worker' &
fi

# shellcheck source=cluster/environment.sh
. "$DAAM_CODE/cluster/environment.sh"
cd "$SLURM_SUBMIT_DIR" # where the study's file may lie
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    set -- "$@" --or-resume
fi
daam "$@" --address="$address" &
driver=$!
[ -z "$stopped" ] || kill -TERM "$driver"
code=0
wait "$driver" || code=$?
[ -z "$stopped" ] || wait "$driver" || code=$? # the first wait ended with the signal
exit "$code"
