import dataclasses

import pytest
import tyro

from memagent.memory import DNC, GRUMemory, LSTMMemory, MemoryConfig, NoMemory, build_memory


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kind": "rnn"}, "kind is 'rnn', expected one of"),
        ({"backend": "cuda"}, "backend is 'cuda', expected one of"),
        ({"memory_size": 0}, "memory_size is 0, expected a positive integer"),
        ({"memory_dim": -3}, "memory_dim is -3, expected a positive integer"),
        ({"num_read_heads": 1.5}, "num_read_heads is 1.5, expected a positive integer"),
        ({"hidden_size": True}, "hidden_size is True, expected a positive integer"),
        ({"read_gain": 0.0}, "read_gain is 0.0, expected a number above 0"),
        ({"strength_bias": float("nan")}, "strength_bias is nan, expected a finite number"),
        ({"link_sharpness": True, "temporal_links": False}, "link_sharpness is on and temporal_links is off"),
    ],
)
def test_a_wrong_field_is_refused_in_one_sentence(fields, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        MemoryConfig(**fields)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_config_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MemoryConfig().memory_size = 3


def test_the_command_line_reads_and_explains_every_field(capsys):
    config = tyro.cli(MemoryConfig, args=["--kind", "lstm", "--memory-size", "9", "--no-temporal-links"])
    assert config == MemoryConfig(kind="lstm", memory_size=9, temporal_links=False)
    with pytest.raises(SystemExit):
        tyro.cli(MemoryConfig, args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "ablation switch",
        "number of slots",
        "width of a slot",
        "Csordás",
        "Franke",
        "Cho et al.",
        "any derivative",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("kind", "module"), [("dnc", DNC), ("lstm", LSTMMemory), ("gru", GRUMemory), ("none", NoMemory)]
)
def test_kind_is_the_ablation_switch(kind, module):
    assert type(build_memory(MemoryConfig(kind=kind), 3)) is module
