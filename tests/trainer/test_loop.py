"""What a line of progress says of a step."""

import torch

from graphadapt.run import Run


def test_a_gpus_loss_is_not_waited_for_and_left_out_while_there_is_none(tiny_run):
    trainer = Run.open(tiny_run, "none").trainer(shown=False)
    elsewhere = torch.empty((), device="meta")  # asking it for a value is an error
    assert trainer._loss_text(elsewhere) == ""
    assert trainer._loss_text(torch.tensor(2.0)) == "loss 2.0000, "
    trainer._last_loss, trainer.state.best_score = 1.25, 0.5
    assert trainer._loss_text(elsewhere) == "loss 1.2500, best 0.5000, "
