#!/usr/bin/env bash
# Three Ray nodes in network namespaces of this machine, joined by address, train one agent: python train.py … --ray ADDRESS.
# In mid-training one of the two that have actors is lost, with all of its processes, and the training goes on.
# Root is needed, for the namespaces; no packet leaves them. Usage: benchmarks/distributed_nodes.sh [PYTHON]
set -eu
cd "$(dirname "$0")/.."
python=$(realpath -s "${1:-.venv/bin/python}") ray=$(dirname "$(realpath -s "${1:-.venv/bin/python}")")/ray
place=$(mktemp -d /tmp/nodes-XXXX)
export RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1 RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$place/token PYTHONPATH=$PWD
"$python" -c 'import secrets; print(secrets.token_hex(32), end="")' > "$place/token"

end_node() { ip netns pids "memagent-$1" 2>/dev/null | xargs -r kill -9; }
end() {
    for n in 1 2 3; do end_node $n; ip netns del "memagent-$n" || true; done
    rm -rf "$place"
}
trap end EXIT

# A bridge in the learner's namespace joins all three.
ip netns add memagent-1
ip -n memagent-1 link add bridge type bridge
ip -n memagent-1 addr add 10.77.0.1/24 dev bridge
ip -n memagent-1 link set bridge up
ip -n memagent-1 link set lo up
for n in 2 3; do
    ip netns add "memagent-$n"
    ip link add "to-$n" netns memagent-1 type veth peer name memagent netns "memagent-$n"
    ip -n memagent-1 link set "to-$n" master bridge up
    ip -n "memagent-$n" addr add "10.77.0.$n/24" dev memagent
    for one in lo memagent; do ip -n "memagent-$n" link set "$one" up; done
done

# The learner's node has no CPU for actors, so that they are on the others, one on each.
ip netns exec memagent-1 "$ray" start --head --node-ip-address 10.77.0.1 --port 6379 --num-cpus 0 \
    --include-dashboard false --temp-dir "$place/1"
for n in 2 3; do
    ip netns exec "memagent-$n" "$ray" start --address 10.77.0.1:6379 --node-ip-address "10.77.0.$n" --num-cpus 1 \
        --temp-dir "$place/$n"
done
ip netns exec memagent-1 "$python" train.py --env CartPole-v1 --memory.kind lstm --total-timesteps 8000 --num-envs 4 \
    --actors 2 --save-every 500 --ray 10.77.0.1:6379 --wandb disabled --evaluation.episodes 1 --evaluation.contexts 1 \
    --run-dir "$place/run" &
training=$!
until compgen -G "$place/run/checkpoints/*2[0-9][0-9][0-9]" > /dev/null; do sleep 0.2; kill -0 $training; done
echo "one of two machines with actors is lost, behind the checkpoint of step $(ls "$place/run/checkpoints" | tail -1)"
end_node 3
wait $training
echo "actors that acted, by the log: $("$python" - "$place/run/progress.csv" <<'END'
import csv, sys
rows = [row for row in csv.DictReader(open(sys.argv[1])) if row["actors/acting"]]
print([(int(row["time/total_timesteps"]), int(float(row["actors/acting"]))) for row in rows][:: max(1, len(rows) // 8)])
END
)"
echo "bytes that crossed between the machine that stayed and the learner's (the latter received, sent):"
ip netns exec memagent-1 cat /sys/class/net/to-2/statistics/rx_bytes /sys/class/net/to-2/statistics/tx_bytes
