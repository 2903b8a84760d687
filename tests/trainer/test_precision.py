import pytest
import torch

from graphadapt.errors import ConfigError
from graphadapt.trainer.precision import autocast, resolve_device, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is usable here")
def test_cuda_without_a_gpu_says_so():
    with pytest.raises(ConfigError, match="no usable GPU"):
        resolve_device("cuda")


def test_auto_takes_what_is_there():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("able", "speedup", "expected"),
    [
        ({"avx512_bf16": True}, 3.0, "bfloat16"),
        ({"avx512_bf16": True}, 0.7, "float32"),
        ({"avx2": True}, 3.0, "float32"),
    ],
)
def test_auto_takes_bfloat16_only_where_it_is_native_and_pays(monkeypatch, able, speedup, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    seconds = {torch.float32: speedup, torch.bfloat16: 1.0}
    monkeypatch.setattr("graphadapt.trainer.precision._seconds", seconds.get)
    assert resolve_precision("auto", CPU) == expected


def test_autocast_computes_products_in_the_precision_asked_for():
    layer = torch.nn.Linear(2, 2)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(name, CPU):
            assert layer(torch.ones(1, 2)).dtype == dtype


def test_a_run_keeps_the_precision_it_began_with(tiny_run):
    from graphadapt.run import Run

    assert Run.open(tiny_run).config.trainer.precision == "float32"
