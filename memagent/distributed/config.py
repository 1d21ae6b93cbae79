"""How one training is spread over actors and a learner."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DistributedConfig:
    """What passes between actors and learner, and how often; without actors nothing does."""

    stretch: int = 16
    """Steps of each environment that an actor sends at once."""
    ahead: int = 2
    """Stretches of each actor that may be under way: with two it acts while the learner takes one in. More of them make
    the weights that act older."""
    publish_every: int = 8
    """Updates from one publication of the weights to the next."""
    max_weight_age: int = 128
    """Updates that may have been made since the weights that an actor acts with, when its rows reach the replay. The
    learner waits for actors that it would leave further behind."""

    def __post_init__(self) -> None:
        for name in ("stretch", "ahead", "publish_every", "max_weight_age"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number, 1 or more.")
        if self.max_weight_age < self.publish_every:
            raise ValueError(
                f"max_weight_age is {self.max_weight_age}, less than publish_every, {self.publish_every}: weights are "
                "older than that before new ones come; give as much or more."
            )
