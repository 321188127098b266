import pytest
import torch

from scumble_bench.rooms import models, world


@torch.no_grad()
def unread(pictures: torch.Tensor) -> float:
    """The share of the cells' mean colours that no linear map finds in the latents.

    Of untrained autoencoders, over three seeds.
    """
    wanted = torch.nn.functional.avg_pool2d(pictures, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    shares: list[float] = []
    for seed in range(3):
        torch.manual_seed(seed)
        latents = models.build_vae().encode(pictures).latent_dist.mode()
        given = latents.permute(0, 2, 3, 1).reshape(-1, 4)
        given = torch.cat([given, torch.ones(len(given), 1)], 1)
        missed = given @ torch.linalg.lstsq(given, wanted).solution - wanted
        shares.append(float(missed.square().mean() / (wanted - wanted.mean(0)).square().mean()))
    return sum(shares) / len(shares)


def test_latents_of_an_untrained_autoencoder_tell_of_colours(monkeypatch: pytest.MonkeyPatch):
    images = torch.stack([torch.from_numpy(world.scene(seed).image) for seed in range(4)])
    pictures = images.permute(0, 3, 1, 2) / 127.5 - 1
    ours = unread(pictures)
    monkeypatch.setattr(models, "pass_colours_on", lambda _: None)
    assert ours < 0.75 * unread(pictures)


@torch.no_grad()
def test_the_posterior_has_next_to_no_variance_and_that_does_not_depend_on_the_picture():
    posterior = models.build_vae().encode(torch.rand(2, 3, 64, 64)).latent_dist
    assert (posterior.logvar == models.LOGVAR).all()
    assert float(posterior.std.max()) < 0.01


def test_text_is_encoded_as_the_model_itself_does():
    torch.manual_seed(0)
    encoder = models.build_text_encoder(600).eval()
    tokens = torch.randint(0, 600, (2, 40))
    with torch.no_grad():
        gap = models.encode_text(encoder, tokens) - encoder(tokens)[0]
    assert float(gap.abs().max()) < 1e-5
