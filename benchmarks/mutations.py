"""What becomes of altered files: mutations of a saved agent, of a checkpoint and of a run folder.

python -m benchmarks.mutations        10,000 mutations of the agent, 2,000 of a checkpoint, 2,000 of the folder

Writes the counts into benchmarks/results/mutations.json. An altered agent or checkpoint has to be refused by an
ArchiveError or have the weights that were saved, an altered folder be refused by a RunError or be read. Files opened,
modules imported, code run and programs started while a mutation is loaded, and not while the original was, are listed;
the peak of the process's memory is taken.
"""

import hashlib
import io
import json
import random
import resource
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import envs
from benchmarks.runs import machine
from memagent.agents import AdaptConfig, LearnerConfig, MemoryDQN
from memagent.agents.checkpoint import ARRAYS, MODEL, REST
from memagent.archive import ArchiveError, digest, format_archive, parse_archive
from memagent.files import write_text
from memagent.memory import MemoryConfig
from memagent.replay import ReplayConfig
from memagent.results import read_log
from memagent.run_config import RunConfig
from memagent.runs import RunError, load_config, save_config
from memagent.stopping import plain_errors

SMALL: dict[str, Any] = {
    "memory": MemoryConfig(memory_size=6, memory_dim=5, num_read_heads=2, hidden_size=16),
    "replay": ReplayConfig(capacity=400, burn_in=2, rows=8, stride=4, n_step=2),
    "learner": LearnerConfig(batch_size=4, learning_starts=50, steps_per_update=16),
    "adapt": AdaptConfig(context_dim=3, train_support=6, support=8),
}
SUSPECT = (
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "import",
    "exec",
    "pickle.find_class",
    "shutil.",
    "ctypes.",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    10**6,
    10**12,
    1e308,
    "",
    "false",
    "../../x",
    "os:system",
    [],
    {},
    [[1]],
    "\x1b[2J",
)


@dataclass(frozen=True)
class Options:
    """What is altered how often."""

    agents: int = 10_000
    """Mutations of a saved agent."""
    checkpoints: int = 2_000
    """Mutations of the files of a checkpoint."""
    folders: int = 2_000
    """Mutations of config.json and episodes.csv."""
    seed: int = 0
    """Of the mutations."""
    out: Path = Path(__file__).parent / "results" / "mutations.json"
    """The file for the counts."""


class Watch:
    """Hears by Python's audit hook of files opened, modules found, code run and programs started.

    What is heard while `known` is true, as when the unaltered file is loaded, is no news later.
    """

    def __init__(self) -> None:
        self.on = self.known = False
        self.usual: set[str] = set()
        self.news = Counter[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or not event.startswith(SUSPECT):
            return
        what: Any = arguments[0] if arguments else ""
        if event == "exec" and hasattr(what, "co_code"):  # annotations of our dataclasses, for one
            what = (what.co_filename, what.co_names, what.co_consts)
        heard = f"{event} {what}"[:200]
        if self.known:
            self.usual.add(heard)
        elif heard not in self.usual:
            self.news[heard] += 1


def bytes_altered(whole: bytes, rng: random.Random) -> bytes:
    """Bits flipped, bytes cut, inserted, doubled or zeroed, up to four times."""
    mutated = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(mutated)), rng.choice((1, 2, 8, 64, 1024))
        match rng.randrange(5):
            case 0:
                mutated[at] ^= 1 << rng.randrange(8)
            case 1:
                del mutated[at : at + length]
            case 2:
                mutated[at:at] = rng.randbytes(length)
            case 3:
                mutated[at:at] = mutated[at : at + length]
            case 4:
                mutated[at : at + length] = bytes(len(mutated[at : at + length]))
        mutated = mutated or bytearray(b"x")
    return bytes(mutated)


def contents_altered(whole: bytes, rng: random.Random) -> bytes:
    """Other data or tensors under right digests, as one makes them who means to deceive."""
    tensors, data = parse_archive(whole)
    if rng.random() < 0.7:
        _alter_value(data, rng)
    else:
        name = rng.choice(list(tensors))
        tensor = tensors.pop(name)
        match rng.randrange(5):
            case 0:
                tensors[name] = tensor.double()
            case 1:
                tensors[name] = tensor.reshape(-1)[:1]
            case 2:
                tensors[f"{name}x"] = tensor
            case 3:
                tensors[name] = tensor.unsqueeze(0)
            case 4:
                pass  # missing
    return format_archive(tensors, data)


def json_altered(whole: bytes, rng: random.Random) -> bytes:
    """Another value somewhere in a JSON object."""
    data = json.loads(whole)
    _alter_value(data, rng)
    return json.dumps(data).encode()


def _alter_value(place: Any, rng: random.Random) -> None:
    """Put another value somewhere into nested data."""
    key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
    if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
        _alter_value(place[key], rng)
    else:
        place[key] = rng.choice(VALUES)


def members_altered(whole: bytes, rng: random.Random) -> bytes:
    """Members renamed, doubled, compressed, left out or added; names that lead out of the folder; a bomb."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(parts))
    method = zipfile.ZIP_STORED
    match rng.randrange(6):
        case 0:
            parts[at] = (
                rng.choice(("../x", "/tmp/x", "policy.pth", "data", "TENSORS.safetensors", "")),
                parts[at][1],
            )
        case 1:
            parts.append(parts[at])
        case 2:
            method = zipfile.ZIP_DEFLATED
        case 3:
            del parts[at]
        case 4:
            parts.append((rng.choice(("../../x", "x.pkl")), b"cos\nsystem\n(S'true'\ntR."))
        case 5:
            method, parts[at] = (
                zipfile.ZIP_DEFLATED,
                (parts[at][0], bytes(2**26)),
            )  # 64 MiB of zeros in 64 KiB
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Duplicate name")
        for name, part in parts:
            archive.writestr(name or "x", part)
    return buffer.getvalue()


def mutate_agents(agent: MemoryDQN, options: Options, watch: Watch) -> dict[str, Any]:
    """Load mutations of a trained agent; count what comes of it."""
    buffer = io.BytesIO()
    agent.save(buffer)
    whole, saved = buffer.getvalue(), _tensors(agent)
    watch.on = watch.known = True
    MemoryDQN.load(io.BytesIO(whole))
    watch.on = watch.known = False
    kinds: dict[str, Callable[[bytes, random.Random], bytes]] = {
        "bytes": bytes_altered,
        "contents": contents_altered,
        "members": members_altered,
    }
    rng, counts = random.Random(options.seed), Counter[str]()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(options.agents):
        kind = ("bytes", "contents", "bytes", "contents", "members")[number % 5]
        mutated = kinds[kind](whole, rng)
        outcome = _outcome(watch, lambda: MemoryDQN.load(io.BytesIO(mutated)), saved)  # noqa: B023 called at once
        counts[f"{kind}: {outcome}"] += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident
    return {
        "bytes_of_the_agent": len(whole),
        "outcomes": dict(counts),
        "peak_resident_grown_kib": grown,
    }


def mutate_checkpoints(agent: MemoryDQN, options: Options, watch: Watch) -> dict[str, int]:
    """Load mutations of a checkpoint's files, in half of them under right digests; count what comes of it."""
    env = agent.get_env()
    assert env is not None
    saved, rng, counts = _tensors(agent), random.Random(options.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkpoint"
        agent.save_checkpoint(folder)
        files = {name: (folder / name).read_bytes() for name in (MODEL, ARRAYS, REST)}
        watch.on = watch.known = True
        MemoryDQN.load_checkpoint(folder, env)
        watch.on = watch.known = False
        for number in range(options.checkpoints):
            name, deceives = (MODEL, ARRAYS, REST)[number % 3], rng.random() < 0.5
            if deceives and name == REST:
                (folder / REST).write_bytes(json_altered(files[REST], rng))
            else:
                (folder / name).write_bytes(bytes_altered(files[name], rng))
            if deceives:
                _renew_digests(folder)
            outcome = _outcome(watch, lambda: MemoryDQN.load_checkpoint(folder, env)[0], saved)
            counts[f"{name}{', right digests' if deceives else ''}: {outcome}"] += 1
            shutil.rmtree(folder)
            folder.mkdir()
            for each, whole in files.items():
                (folder / each).write_bytes(whole)
    return dict(counts)


def _renew_digests(folder: Path) -> None:
    """As one does it who means to deceive."""
    table = json.loads((folder / REST).read_bytes())
    if isinstance(table.get("files"), dict):
        table["files"] |= {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, ARRAYS)
        }
    table.pop("sha256", None)
    write_text(folder / REST, json.dumps(table | {"sha256": digest(table)}))


def _outcome(watch: Watch, load: Callable[[], MemoryDQN], saved: Any) -> str:
    """What comes of loading a mutation."""
    watch.on = True
    try:
        loaded = load()
    except ArchiveError as error:
        return "refused" if len(str(error).splitlines()) == 1 else "refused in more than a line"
    except BaseException as error:
        return f"crashed: {type(error).__name__}: {str(error)[:200]}"
    else:
        same = _same(_tensors(loaded), saved)
        return "taken, weights as saved" if same else "taken, weights altered"
    finally:
        watch.on = False


def mutate_folders(options: Options, watch: Watch) -> dict[str, Any]:
    """Read mutations of config.json and episodes.csv; count what comes of it."""
    rng, counts = random.Random(options.seed), Counter[str]()
    log = "step,env,phase,context_id,return,length\r\n" + "".join(
        f"{n},0,{n // 9},1,{n}.5,9\r\n" for n in range(50)
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_config(folder, RunConfig())
        files: dict[str, tuple[bytes, Callable[[], Any]]] = {
            "config.json": ((folder / "config.json").read_bytes(), lambda: load_config(folder)),
            "episodes.csv": (log.encode(), lambda: read_log(folder / "episodes.csv")),
        }
        for number in range(options.folders):
            name = ("config.json", "episodes.csv")[number % 2]
            whole, read = files[name]
            mutated = bytes_altered(whole, rng)
            if name == "config.json" and rng.random() < 0.5:
                mutated = json_altered(whole, rng)
            (folder / name).write_bytes(mutated)
            try:
                read()
                outcome = "taken"
            except RunError as error:
                outcome = "refused" if len(str(error).splitlines()) == 1 else "refused in more than a line"
            except BaseException as error:
                outcome = f"crashed: {type(error).__name__}: {str(error)[:200]}"
            counts[f"{name}: {outcome}"] += 1
            (folder / name).write_bytes(whole)
    return dict(counts)


def _tensors(agent: MemoryDQN) -> dict[str, Any]:
    """Weights, and the optimiser's moments; its rates follow from the settings."""
    return {"policy": agent.policy.state_dict(), "moments": agent.policy.optimizer.state_dict()["state"]}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(*pair) for pair in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def main(options: Options) -> None:
    """Do all three, print and write what came of them."""
    torch.set_num_threads(1)
    agent = MemoryDQN("MemoryPolicy", envs.make_vec("Drift/CartPole-v0", 2, seed=0), seed=0, **SMALL)
    agent.learn(400)
    watch = Watch()
    result: dict[str, Any] = {
        "machine": machine(),
        "agents": mutate_agents(agent, options, watch),
        "checkpoints": mutate_checkpoints(agent, options, watch),
        "unusual_events": dict(watch.news),
        "folders": mutate_folders(options, watch),
    }
    text = json.dumps(result, indent=1)
    write_text(options.out, f"{text}\n")
    print(text)


if __name__ == "__main__":
    with plain_errors(RunError):
        main(tyro.cli(Options))
