#!/usr/bin/env bash
# Two Ray nodes in network namespaces of this machine, joined by address, train one agent: python train.py … --ray ADDRESS.
# Root is needed, for the namespaces; no packet leaves them. Usage: benchmarks/distributed_nodes.sh [PYTHON]
set -eu
cd "$(dirname "$0")/.."
python=$(realpath -s "${1:-.venv/bin/python}") ray=$(dirname "$(realpath -s "${1:-.venv/bin/python}")")/ray
place=$(mktemp -d /tmp/nodes-XXXX)
export RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1 RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$place/token PYTHONPATH=$PWD
"$python" -c 'import secrets; print(secrets.token_hex(32), end="")' > "$place/token"
one="ip netns exec memagent-1" two="ip netns exec memagent-2"

end() {
    pids=$(ip netns pids memagent-1 2>/dev/null; ip netns pids memagent-2 2>/dev/null) && kill $pids 2>/dev/null && sleep 2
    ip netns del memagent-1; ip netns del memagent-2; rm -rf "$place"
}
trap end EXIT

ip netns add memagent-1; ip netns add memagent-2
ip link add memagent-a netns memagent-1 type veth peer name memagent-b netns memagent-2
$one ip addr add 10.77.0.1/24 dev memagent-a; $two ip addr add 10.77.0.2/24 dev memagent-b
for space in "$one ip link set" "$two ip link set"; do $space lo up; done
$one ip link set memagent-a up; $two ip link set memagent-b up

# The learner's node has no CPU for actors, so that all of them are on the other one.
$one "$ray" start --head --node-ip-address 10.77.0.1 --port 6379 --num-cpus 0 --include-dashboard false --temp-dir "$place/1"
$two "$ray" start --address 10.77.0.1:6379 --node-ip-address 10.77.0.2 --num-cpus 2 --temp-dir "$place/2"
$one "$python" train.py --env CartPole-v1 --memory.kind lstm --total-timesteps 2000 --num-envs 4 --actors 2 \
    --ray 10.77.0.1:6379 --wandb disabled --evaluation.episodes 1 --evaluation.contexts 1 --run-dir "$place/run"
echo "bytes that crossed between the nodes (the learner's received, sent):"
$one cat /sys/class/net/memagent-a/statistics/rx_bytes /sys/class/net/memagent-a/statistics/tx_bytes
