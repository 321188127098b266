"""What the reference ways share; what they make of it is tested with each of them."""

from typing import Any

import pytest
import torch

from scumble.errors import OptionError
from scumble_bench.peers.reference_p2p import ReferenceP2P
from scumble_bench.peers.reference_run import require_known
from scumble_plugins.masactrl import MasaCtrlOptions


def test_work_of_another_method_is_refused(reference: ReferenceP2P, work: Any):
    for asked in (work("masactrl"), work("generate"), work("prompt_to_prompt", source=None)):
        with pytest.raises(OptionError, match="reference prompt_to_prompt was given work"):
            reference.run(asked)


def test_an_unknown_inversion_is_refused_before_a_row_is_run(
    reference: ReferenceP2P, picture: Any, work: Any
):
    with pytest.raises(OptionError, match="knows direct and ddim"):
        reference.run(work("prompt_to_prompt", inversion="null_text"), picture)


def test_a_control_is_taken_out_even_if_it_fails(reference: ReferenceP2P):
    text = torch.zeros(4, 40, 32)

    def broken(maps: torch.Tensor, site: object) -> torch.Tensor:
        raise RuntimeError("broken")

    latents = torch.zeros(2, 4, 8, 8)
    with pytest.raises(RuntimeError, match="broken"):
        reference.guided(latents, 481, text, 7.5, broken)
    assert reference.guided(latents, 481, text, 7.5, None).isfinite().all()


def test_an_option_that_a_peer_lacks_is_refused_unless_it_is_the_default():
    require_known("it", MasaCtrlOptions(start_step=3, proximal="none"), ["start_step"])
    with pytest.raises(OptionError, match="it has no proximal"):
        require_known("it", MasaCtrlOptions(start_step=3, proximal="soft"), ["start_step"])
