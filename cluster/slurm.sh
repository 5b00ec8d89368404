#!/usr/bin/env bash
# A search, a study or a run on Slurm: a Ray of its own over the nodes of the job. In the project's folder, which all
# nodes see and which has its .venv:
#
#     sbatch cluster/slurm.sh tune configs/NAME.yaml KEY=VALUE ...
#     sbatch --nodes=4 --time=8:00:00 cluster/slurm.sh tune ...
#
# Before the time limit it ends resumably and puts itself into the queue again, to go on in the same folder.
# docs/cluster/slurm.md is the walk-through.
#
# EDIT these, or give them to sbatch:
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=24:00:00
# These stay:
#SBATCH --job-name=hlgp
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
#
# Not `ray symmetric-run`: it refuses a node on which any other Ray runs, its `ray stop` at the end takes those of the
# user's other jobs along, and a signal does not get through it.
set -euo pipefail

# From the first moment; the driver has a process group of its own, which gets the signal as a whole.
signals=0 driver=
trap '((++signals)); [[ -z $driver ]] || kill -s USR1 -- "-$driver" 2> /dev/null || true' USR1 TERM

readonly max_restarts=20         # EDIT: a job that gets nowhere must not go on for ever
readonly interrupted=75          # of hlgp: resumable by the same command
readonly start_seconds=300
export HLGP_HOME="${HLGP_HOME:-$SLURM_SUBMIT_DIR}"
export HLGP_STORAGE="${HLGP_STORAGE:-$SLURM_SUBMIT_DIR}" # relative run.dir and data.path lie here; all nodes see it
export PATH="$HLGP_HOME/.venv/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # Ray ends after the search; nothing is left to wait for
export RAY_JOB_STOP_WAIT_TIME_S=150            # `ray job stop`: more than the ranks are given to save

# Sixteen ports a job, below those that Linux gives out, so that the jobs that share a node leave each other alone.
first_port=$((10000 + SLURM_JOB_ID % 1000 * 16))
head_ip="$(hostname --all-ip-addresses | cut --delimiter=' ' --fields=1)" # this is the job's first node
export RAY_ADDRESS="$head_ip:$first_port"
export RAY_TMPDIR="/tmp/hlgp-$SLURM_JOB_ID" # short: sockets lie below

[[ $HLGP_STORAGE == *://* ]] && seen="$HLGP_HOME" || seen="$HLGP_STORAGE" # by all nodes
export RAY_AUTH_TOKEN_PATH="$seen/.hlgp-$SLURM_JOB_ID.token"
(umask 077 && rm -f "$RAY_AUTH_TOKEN_PATH" &&
    python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH")

# shellcheck disable=SC2016 # for the shell of each node
readonly node='
    ulimit -n "$(ulimit -Hn)"
    mkdir -p "$RAY_TMPDIR"
    trap "rm -rf \"$RAY_TMPDIR\"" EXIT
    trap "kill \$!" TERM
    export GLOO_SOCKET_IFNAME="$(ip -o route get "${RAY_ADDRESS%:*}" | grep -oP "(?<= dev )\S+")"
    port() { echo $((${RAY_ADDRESS##*:} + $1)); }
    options=(
        --block --num-cpus="${SLURM_CPUS_PER_TASK:-$(nproc)}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}"
        --node-manager-port="$(port 1)" --object-manager-port="$(port 2)" --runtime-env-agent-port="$(port 3)"
        --dashboard-agent-listen-port="$(port 4)" --dashboard-agent-grpc-port="$(port 5)"
        --metrics-export-port="$(port 6)" --min-worker-port=0 --max-worker-port=0
    )
    if [[ $SLURM_NODEID == 0 ]]; then
        options+=(
            --head --node-ip-address="${RAY_ADDRESS%:*}" --port="$(port 0)" --temp-dir="$RAY_TMPDIR"
            --dashboard-host=127.0.0.1 --dashboard-port="$(port 7)" --ray-client-server-port="$(port 8)"
        )
    else
        options+=(--address="$RAY_ADDRESS")
        until (exec 3<> "/dev/tcp/${RAY_ADDRESS%:*}/$(port 0)") 2> /dev/null; do sleep 1; done
    fi
    env -u RAY_ADDRESS ray start "${options[@]}" &
    wait $! || wait $!'

srun --overlap --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    bash -c "$node" &
cluster=$!

finish() {
    kill "$cluster" 2> /dev/null || true
    wait "$cluster" 2> /dev/null || true
    rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap finish EXIT

# Behind, so that a signal is not waited with.
timeout "$start_seconds" python - "$SLURM_NNODES" << 'END' &
import sys, time
import ray
while True:
    try:
        ray.init(log_to_driver=False, logging_level="critical")
        break
    except Exception:
        time.sleep(1)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[1]):
    time.sleep(1)
END

starting=$! code=0
wait "$starting" || code=$?
if ((signals)); then
    kill "$starting" 2> /dev/null || true
    code=$interrupted # nothing has begun
elif ((code)); then
    echo "slurm.sh: Ray is not up on all nodes"
    exit 4
else
    set -m
    python "$HLGP_HOME/cluster/submit.py" "$@" &
    driver=$!
    set +m
    ((!signals)) || kill -s USR1 -- "-$driver" 2> /dev/null || true
    heard=
    until [[ $heard == "$signals" ]]; do
        heard=$signals code=0
        wait "$driver" || code=$?
    done
    # By a first signal, but of itself: the driver was still starting and did not heed it yet.
    if ((signals == 1 && code == 128 + $(kill -l USR1))); then code=$interrupted; fi
fi
trap '' USR1 TERM # a last one must not get between the end of Ray and the queue

if [[ $code == "$interrupted" ]] && ((${SLURM_RESTART_COUNT:-0} < max_restarts)); then
    finish
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
