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
    ("able", "expected"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)],
)
def test_auto_takes_bfloat16_only_where_the_processor_multiplies_it(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert resolve_precision("auto", CPU) == expected


def test_autocast_computes_products_in_the_precision_asked_for():
    layer = torch.nn.Linear(2, 2)
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(dtype, CPU):
            assert layer(torch.ones(1, 2)).dtype == dtype
