import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble.sites import Site
from scumble_bench.peers.map_attention import Heads, install


def loaded(tiny) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny / "unet").eval().requires_grad_(False)


def noise(unet: UNet2DConditionModel) -> Tensor:
    maker = torch.Generator().manual_seed(1)
    sample = torch.randn(4, 4, 8, 8, generator=maker)
    text = torch.randn(4, 40, 32, generator=maker)
    with torch.inference_mode():
        return unet(sample, 481, encoder_hidden_states=text).sample


def test_without_a_control_the_unet_is_what_diffusers_makes_of_it(tiny):
    unet = loaded(tiny)
    before = noise(unet)
    install(unet)
    torch.testing.assert_close(noise(unet), before, rtol=1e-5, atol=1e-5)


def test_every_site_hands_over_its_map_and_attends_with_what_comes_back(tiny):
    unet = loaded(tiny)
    slot = install(unet)
    before = noise(unet)
    seen: list[tuple[str, tuple[int, ...]]] = []

    def watch(maps: Tensor, site: Site) -> Tensor:
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:2]))
        seen.append((site.path, tuple(maps.shape)))
        return maps

    slot.control = watch
    torch.testing.assert_close(noise(unet), before, rtol=0, atol=0)
    assert len(seen) == len(unet.attn_processors) == 14
    # Four rows of two heads at the first level; 64 cells, 40 tokens.
    assert seen[0] == ("down_blocks.0.attentions.0.transformer_blocks.0.attn1", (8, 64, 64))
    assert seen[1] == ("down_blocks.0.attentions.0.transformer_blocks.0.attn2", (8, 64, 40))
    slot.control = lambda maps, site: maps * 0 if site.path == seen[1][0] else maps
    assert (noise(unet) - before).abs().max() > 1e-3


def test_a_control_may_attend_in_the_sites_place(tiny):
    unet = loaded(tiny)
    slot = install(unet)
    before = noise(unet)

    class Same:
        def attend(self, heads: Heads, site: Site) -> Tensor:
            assert len(heads.query) == 4 * site.heads
            scores = heads.query @ heads.key.transpose(1, 2) * heads.query.shape[-1] ** -0.5
            torch.testing.assert_close(heads.maps, scores.softmax(-1))
            return heads.maps @ heads.value

    class Nothing:
        def attend(self, heads: Heads, site: Site) -> Tensor:
            return 0 * heads.query

    slot.control = Same()
    torch.testing.assert_close(noise(unet), before)
    slot.control = Nothing()
    assert (noise(unet) - before).abs().max() > 1e-3
