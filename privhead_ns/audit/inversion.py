"""Attack 3: reconstructs photographs from protected views and recognises faces in them.

Learned: a small U-Net (Ronneberger et al., MICCAI 2015) trained on other heads, whose photographs the attacker
protects himself as often as he likes. Direct: the image whose σ equals the protected view, found by descent with a
total-variation prior (Rudin et al., Physica D 1992). Magnitudes leave every sign open, and descent keeps the signs
that its start implies, so the search turns them over in random regions and goes on with what fits better. Both: descent
from what was learned, which has plausible signs but only an average face's detail.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from privhead_ns.audit.faces import landmarks
from privhead_ns.audit.heads import Head
from privhead_ns.audit.off_the_shelf import Gallery, headline
from privhead_ns.audit.recogniser import Image
from privhead_ns.audit.result import AttackResult, Figures, percent, subsample
from privhead_ns.operators import OperatorConfig, quantise, rounding

TITLE = "3. Inversion to photographs"
LEARNED, DIRECT, REFINED = "learned inversion", "direct inversion", "learned inversion, refined by descent"
TRAINING_STEPS, BATCH, WINDOW = 600, 8, 64
"""Of the learned inverter; images larger than the window are learned in pieces of its size."""
DESCENT_STEPS, TURNS, STEPS_AFTER_TURN = 250, 6, 80
"""Of a descent; how often the direct one turns signs over, and how long it descends after each time."""
TOTAL_VARIATION, COLOUR_VARIATION = 0.02, 0.1
"""Weights against the mean difference to the protected view. In photographs colour varies less than brightness does."""
DETAIL = 4.0
"""Pixels of blur that tell detail, whose sign may be wrong, from what lies behind it."""


class Inverter(nn.Module):
    """A U-Net of two halvings from magnitude to colour."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.fine, self.middle = block(1, width), block(width, 2 * width)
        self.coarse = block(2 * width, 4 * width, dilation=2)
        self.up_middle, self.up_fine = block(6 * width, 2 * width), block(3 * width, width)
        self.out = nn.Conv2d(width, 3, 1)

    def forward(self, magnitude: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Returns colours in [0, 1]."""
        fine = self.fine(magnitude.clamp(min=0).sqrt()[:, None])
        middle = self.middle(F.avg_pool2d(fine, 2, ceil_mode=True))
        coarse = self.coarse(F.avg_pool2d(middle, 2, ceil_mode=True))
        middle = self.up_middle(torch.cat([middle, F.interpolate(coarse, middle.shape[-2:])], dim=1))
        fine = self.up_fine(torch.cat([fine, F.interpolate(middle, fine.shape[-2:])], dim=1))
        return torch.sigmoid(self.out(fine))


def block(channels: int, width: int, dilation: int = 1) -> nn.Sequential:
    """Returns two convolutions."""
    layers = [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(4, width), nn.LeakyReLU(0.1)]
    layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def invert(heads: list[Head], operator: OperatorConfig, console: Console, seed: int = 0) -> dict[str, list[Image]]:
    """Turns the protected views of the first head into photographs in all ways; what is learned needs other heads."""
    generator = torch.Generator().manual_seed(seed)
    protected = torch.from_numpy(heads[0].magnitude)
    inverted = {DIRECT: search(protected, operator, generator, console)}
    if len(heads) > 1:
        inverter = learn(np.concatenate([head.colour for head in heads[1:]]), operator, generator, console)
        with torch.no_grad():
            inverted[LEARNED] = inverter(protected)
        inverted[REFINED], _ = descend(inverted[LEARNED], protected, operator, DESCENT_STEPS)
    return {label: to_images(colours) for label, colours in inverted.items()}


def attack(gallery: Gallery, heads: list[Head], inverted: dict[str, list[Image]]) -> AttackResult:
    """Recognises faces in the reconstructions of the first head's protected views."""
    subject = heads[0]
    result = AttackResult(
        TITLE, pictures={"photographs": subsample(subject.photographs), "protected views": subsample(subject.protected)}
    )
    for label, pictures in inverted.items():
        result.pictures[label] = subsample(pictures)
        found = landmarks(gallery.recogniser, pictures)
        detected = sum(place is not None for place in found) / len(pictures)
        result.rows[label] = {"detected": detected, **gallery.compare(pictures), **likeness(subject.colour, pictures)}
    rates = [rate for row in result.rows.values() if (rate := headline(row)) is not None]
    result.recognition = max(rates, default=None)
    best = max(result.rows, key=lambda label: headline(result.rows[label]) or 0.0)
    what = f"picks you out of {len(heads)} people" if len(heads) > 1 else "takes it for you"
    result.sentence = (
        f"From your protected views a program made pictures in which face recognition {what} in "
        f"{percent(result.recognition)} of cases (the best way was {best})."
    )
    if len(heads) == 1:
        result.sentence += " The learned inverter was not measured: it learns from other people; name them in --others."
    return result


def learn(
    colour: Float[np.ndarray, "n height width 3"],
    operator: OperatorConfig,
    generator: torch.Generator,
    console: Console,
) -> Inverter:
    """Trains an inverter on photographs that are mirrored, tinted and protected anew in each step."""
    images, sigma = torch.from_numpy(colour).permute(0, 3, 1, 2), operator.setup()
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        inverter = Inverter()
    optimizer = torch.optim.Adam(inverter.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TRAINING_STEPS)
    for _ in track(range(TRAINING_STEPS), "3. Learning to invert", console=console):
        batch = window(images[torch.randint(len(images), (BATCH,), generator=generator)], generator)
        batch = batch.flip(-1) if torch.rand(1, generator=generator) < 0.5 else batch
        tint = 1 + 0.15 * torch.randn(BATCH, 3, 1, 1, generator=generator)
        batch = (batch * tint).clamp(0, 1)
        magnitude = sigma(batch)
        stored = sigma.maximum * quantise(magnitude, sigma.maximum, operator.levels)
        guess = inverter(F.pad(stored, [sigma.margin] * 4))
        loss = (guess - batch).abs().mean() + (sigma(guess) - magnitude).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return inverter


def window(images: Float[Tensor, "n 3 height width"], generator: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    """Cuts a random piece of at most `WINDOW` pixels a side."""
    for axis in (2, 3):
        side = min(WINDOW, images.shape[axis])
        start = int(torch.randint(images.shape[axis] - side + 1, (1,), generator=generator))
        images = images.narrow(axis, start, side)
    return images


def search(
    protected: Float[Tensor, "views height width"],
    operator: OperatorConfig,
    generator: torch.Generator,
    console: Console,
) -> Float[Tensor, "views 3 height width"]:
    """Searches the image whose σ equals each protected view, from a random start; the best fit of each view counts."""
    views, height, width = protected.shape
    coarse = torch.randn(views, 1, height // 8 + 1, width // 8 + 1, generator=generator)
    smooth = F.interpolate(coarse, (height, width), mode="bilinear").expand(-1, 3, -1, -1)
    start = torch.sigmoid(smooth + 0.1 * torch.randn(views, 3, height, width, generator=generator))
    best, cost = descend(start, protected, operator, DESCENT_STEPS)
    for _ in track(range(TURNS), "3. Direct inversion", console=console):
        found, new_cost = descend(turned(best, generator), protected, operator, STEPS_AFTER_TURN)
        better = new_cost < cost
        best[better], cost[better] = found[better], new_cost[better]
    return best


def descend(
    start: Float[Tensor, "views 3 height width"],
    protected: Float[Tensor, "views height width"],
    operator: OperatorConfig,
    steps: int,
) -> tuple[Float[Tensor, "views 3 height width"], Float[Tensor, " views"]]:
    """Descends from images to ones whose σ equals the protected views; returns these and what the fit still costs.

    What rounding of stored magnitudes can explain costs nothing.
    """
    sigma = operator.setup()
    margin, rounded = sigma.margin, rounding(sigma.maximum, operator.levels)
    target = protected[:, margin : protected.shape[1] - margin, margin : protected.shape[2] - margin]
    logits = torch.logit(start.clamp(0.01, 0.99)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.02)
    cost = torch.zeros(len(start))
    for _ in range(steps):
        image = torch.sigmoid(logits)
        cost = F.relu((sigma(image) - target).abs() - rounded).mean(dim=(1, 2))
        cost = cost + TOTAL_VARIATION * variation(image)
        cost = cost + COLOUR_VARIATION * variation(image - image.mean(dim=1, keepdim=True))
        optimizer.zero_grad()
        cost.sum().backward()
        optimizer.step()
    return torch.sigmoid(logits.detach()), cost.detach()


def variation(images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, " views"]:
    """Returns the mean absolute difference of neighbours in a row, plus that in a column."""
    return images.diff(dim=-1).abs().mean(dim=(1, 2, 3)) + images.diff(dim=-2).abs().mean(dim=(1, 2, 3))


def turned(
    images: Float[Tensor, "views 3 height width"], generator: torch.Generator
) -> Float[Tensor, "views 3 height width"]:
    """Turns the sign of the detail over in random regions, which are larger than the blur that tells it."""
    behind = gaussian_blur(images, [2 * round(3 * DETAIL) + 1] * 2, [DETAIL] * 2)
    noise = torch.randn(len(images), 1, 4, 4, generator=generator)
    sign = F.interpolate(noise, images.shape[-2:], mode="bilinear").sign()
    return behind + sign * (images - behind)


def to_images(colours: Float[Tensor, "views 3 height width"]) -> list[Image]:
    """Returns 8-bit pictures."""
    return list((colours.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy())


def likeness(colour: Float[np.ndarray, "views height width 3"], pictures: list[Image]) -> Figures:
    """Returns the mean structural similarity and PSNR in dB; poor measures of privacy, for comparison with others'."""
    pairs = [(truth, picture / np.float32(255)) for truth, picture in zip(colour, pictures, strict=True)]
    ssim = [structural_similarity(a, b, channel_axis=-1, data_range=1.0) for a, b in pairs]
    psnr = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in pairs]
    return {"SSIM": float(np.mean(ssim)), "PSNR": float(np.mean(psnr))}
