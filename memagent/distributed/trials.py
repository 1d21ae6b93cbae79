"""Trainings of several seeds on the machines of a Ray cluster.

Each is a plain Ray task that runs the command which a local one runs, `train.py --resume FOLDER`. The folder says what
it goes on from: a task that Ray runs once more resumes the training from its newest checkpoint, on whatever machine. So
Ray has to place tasks and to repeat them, no more; Ray Tune would bring a second kind of folder, checkpoint and summary
beside ours, and its searches are not wanted here.

The machines have to see the run folders and this repository under the same paths, as a shared file system gives them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from memagent.distributed.cluster import connected, refuse_unmet
from memagent.jobs import Launch
from memagent.run_config import RunConfig
from memagent.runs import RunError

RETRIES = 2
"""How often a training that failed, or whose machine was lost, is resumed."""


@contextmanager
def launching(address: str | None, config: RunConfig) -> Iterator[Launch | None]:
    """What starts trainings of a configuration on a Ray cluster, see `connected`; None where no address is given.

    Each takes as many CPUs as it has threads, and a GPU where its device is one.

    Raises:
        RunError: there is no cluster, or none of its machines has so much, or each training has actors of its own.
    """
    if address is None:
        yield None
        return
    if config.actors:
        raise RunError(
            "--ray was given for several trainings with --actors; leave one of them out: actors on Ray are for one "
            "training."
        )
    cpus, gpus = float(config.threads), float(config.device.startswith("cuda"))
    with connected(address):
        from memagent.distributed.processes import launcher  # imports Ray

        refuse_unmet({"CPU": cpus, "GPU": gpus}, "A training")
        yield launcher(cpus, gpus, RETRIES)
