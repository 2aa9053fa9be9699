"""The official network and its iteration in PyTorch, to compare with.

Written from the paper and from the facts of the official release (NVlabs/SPADE) in
`../shared/DESIGN.md`: the COCO-Stuff recipe on one device, where synchronised batch
norm is batch norm. Layers are named as there, so that `spade_jax.convert` moves weights
between this and `spade_jax.nets`.

`SPADEGenerator` and `Trainer` do what the official program does. `frozen` and the
arguments of `Trainer` are what PyTorch offers beyond that; they change no result.

Letters: B batch, H height, W width, C classes, P planes of the layout.
"""

import contextlib
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import remove_spectral_norm, spectral_norm

LEARNING_RATE = 2e-4  # with TTUR half of it for the generator, twice for the other
FEATURE_MATCHING = 10.0
PERCEPTUAL = 10.0
VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)

_LAYERS = 4  # of a discriminator, before its prediction
_SCALES = 2  # discriminators
# Of VGG19 up to relu5_1: features of a convolution and its activation, or a pooling.
_VGG19 = (
    *(64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool"),
    *(512, 512, 512, 512, "pool", 512),
)

Features = list[list[Tensor]]
"""Of the discriminators: for each scale every layer's output."""


def planes(
    label: Tensor,
    edge: Tensor | None,
    num_classes: int,
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """One-hot ids, then the edge plane: int64 `[B, H, W]` to float32 `[B, P, H, W]`."""
    batch, height, width = label.shape
    size = (batch, num_classes + (edge is not None), height, width)
    layout = torch.empty(size, device=label.device, memory_format=memory_format)
    layout.zero_().scatter_(1, label[:, None], 1.0)
    if edge is not None:
        layout[:, -1] = edge
    return layout


class SPADE(nn.Module):
    """Batch norm, scaled and shifted at every pixel by what the layout says."""

    def __init__(self, features: int, num_planes: int, hidden: int):
        super().__init__()
        self.param_free_norm = nn.BatchNorm2d(features, affine=False)
        self.mlp_shared = nn.Sequential(
            nn.Conv2d(num_planes, hidden, 3, padding=1), nn.ReLU()
        )
        self.mlp_gamma = nn.Conv2d(hidden, features, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, features, 3, padding=1)

    def forward(self, x: Tensor, layout: Tensor) -> Tensor:
        normalised = self.param_free_norm(x)
        hidden = self.mlp_shared(F.interpolate(layout, size=x.shape[2:]))
        return normalised * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class ResBlock(nn.Module):
    """Two convolutions after SPADEs; the shortcut is learned where widths differ."""

    def __init__(self, in_features: int, features: int, num_planes: int, hidden: int):
        super().__init__()
        middle = min(in_features, features)
        self.learns_shortcut = in_features != features
        self.conv_0 = spectral_norm(nn.Conv2d(in_features, middle, 3, padding=1))
        self.conv_1 = spectral_norm(nn.Conv2d(middle, features, 3, padding=1))
        if self.learns_shortcut:
            self.conv_s = spectral_norm(nn.Conv2d(in_features, features, 1, bias=False))
        self.norm_0 = SPADE(in_features, num_planes, hidden)
        self.norm_1 = SPADE(middle, num_planes, hidden)
        if self.learns_shortcut:
            self.norm_s = SPADE(in_features, num_planes, hidden)

    def forward(self, x: Tensor, layout: Tensor) -> Tensor:
        shortcut = self.conv_s(self.norm_s(x, layout)) if self.learns_shortcut else x
        x = self.conv_0(_activate(self.norm_0(x, layout)))
        x = self.conv_1(_activate(self.norm_1(x, layout)))
        return shortcut + x


class SPADEGenerator(nn.Module):
    """From planes `[B, P, H, W]` to pictures `[B, 3, H, W]` in [-1, 1].

    Height and width are multiples of 32 (official `num_upsampling_layers=normal`).
    """

    # Name, width as a multiple of the last, and whether the picture doubles before.
    BLOCKS = (
        ("head_0", 16, False),
        ("G_middle_0", 16, True),
        ("G_middle_1", 16, False),
        ("up_0", 8, True),
        ("up_1", 4, True),
        ("up_2", 2, True),
        ("up_3", 1, True),
    )

    def __init__(self, num_planes: int, *, width: int = 64, hidden: int = 128):
        super().__init__()
        features = 16 * width
        self.fc = nn.Conv2d(num_planes, features, 3, padding=1)
        for name, multiple, _ in self.BLOCKS:
            in_features, features = features, multiple * width
            self.add_module(name, ResBlock(in_features, features, num_planes, hidden))
        self.conv_img = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, layout: Tensor) -> Tensor:
        height, width = layout.shape[2:]
        x = self.fc(F.interpolate(layout, size=(height // 32, width // 32)))
        for name, _, doubles in self.BLOCKS:
            if doubles:
                x = F.interpolate(x, scale_factor=2)
            x = getattr(self, name)(x, layout)
        return torch.tanh(self.conv_img(_activate(x)))


class PatchDiscriminator(nn.Module):
    """One scale: spectral convolutions with instance norm, then the prediction."""

    def __init__(self, in_features: int, *, width: int):
        super().__init__()
        features = width
        first = nn.Conv2d(in_features, features, 4, stride=2, padding=2)
        self.model0 = nn.Sequential(first, nn.LeakyReLU(0.2))
        for i in range(1, _LAYERS):
            in_features, features = features, min(2 * features, 512)
            stride = 1 if i == _LAYERS - 1 else 2
            conv = nn.Conv2d(
                in_features, features, 4, stride=stride, padding=2, bias=False
            )
            normalised = nn.Sequential(spectral_norm(conv), nn.InstanceNorm2d(features))
            layer = nn.Sequential(normalised, nn.LeakyReLU(0.2))
            self.add_module(f"model{i}", layer)
        prediction = nn.Conv2d(features, 1, 4, padding=2)
        self.add_module(f"model{_LAYERS}", nn.Sequential(prediction))

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.children():
            x = layer(x)
            outputs.append(x)
        return outputs


class MultiscaleDiscriminator(nn.Module):
    """From planes and pictures, joined `[B, P + 3, H, W]`, to features and predictions.

    The second discriminator sees half the size of the first.
    """

    def __init__(self, num_planes: int, *, width: int = 64):
        super().__init__()
        for scale in range(_SCALES):
            discriminator = PatchDiscriminator(num_planes + 3, width=width)
            self.add_module(f"discriminator_{scale}", discriminator)

    def forward(self, x: Tensor) -> Features:
        features = []
        for scale, discriminator in enumerate(self.children()):
            if scale:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            features.append(discriminator(x))
        return features


class VGG19(nn.Module):
    """From pictures to relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1."""

    def __init__(self):
        super().__init__()
        layers, in_features, self._kept = [], 3, []
        for features in _VGG19:
            if features == "pool":
                layers.append(nn.MaxPool2d(2))
                continue
            if not layers or isinstance(layers[-1], nn.MaxPool2d):
                self._kept.append(len(layers) + 1)
            conv = nn.Conv2d(in_features, features, 3, padding=1)
            layers += [conv, nn.ReLU(inplace=True)]
            in_features = features
        self.features = nn.Sequential(*layers)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        x, outputs = image, []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self._kept:
                outputs.append(x)
        return outputs


class Trainer:
    """Two networks, their optimisers, and the official iteration.

    Args:
      generator: from planes to pictures.
      discriminator: of planes and pictures, joined.
      vgg: feature network of the perceptual loss.
      fused: make Adam's step by one kernel.
      skip_unused: make no gradients of the discriminator's weights where only the
        generator learns; officially they are computed and thrown away.
      autocast: context in which the networks run, for mixed precision.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        vgg: nn.Module,
        *,
        fused: bool = False,
        skip_unused: bool = False,
        autocast: contextlib.AbstractContextManager | None = None,
    ):
        self.generator = generator.train()
        self.discriminator = discriminator.train()
        self.vgg = vgg
        self.skip_unused = skip_unused
        self.autocast = autocast or contextlib.nullcontext()
        adam = {"betas": (0.0, 0.9), "fused": fused}
        self.generator_optimizer = torch.optim.Adam(
            generator.parameters(), lr=LEARNING_RATE / 2, **adam
        )
        self.discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(), lr=LEARNING_RATE * 2, **adam
        )

    def step(self, layout: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Updates both networks; gives the terms of the objective, weighted.

        Args:
          layout: `[B, P, H, W]`, see `planes`.
          image: `[B, 3, H, W]` in [-1, 1].
        """
        with self._only_generator_learns():
            with self.autocast:
                terms = self._generator_terms(layout, image)
            self.generator_optimizer.zero_grad()
            sum(terms.values()).backward()
            self.generator_optimizer.step()
        with self.autocast:
            d_terms = self._discriminator_terms(layout, image)
        self.discriminator_optimizer.zero_grad()
        sum(d_terms.values()).backward()
        self.discriminator_optimizer.step()
        return {name: term.detach() for name, term in (terms | d_terms).items()}

    def _generator_terms(self, layout: Tensor, image: Tensor) -> dict[str, Tensor]:
        fake = self.generator(layout)
        on_fake, on_real = self._judge(layout, fake, image)
        return {
            "gan": _mean(-p.mean() for p in _predictions(on_fake)),
            "feature_matching": FEATURE_MATCHING
            * _mean(
                sum(map(_l1, fakes[:-1], reals[:-1]))
                for fakes, reals in zip(on_fake, on_real, strict=True)
            ),
            "perceptual": PERCEPTUAL
            * sum(
                weight * _l1(f, r)
                for weight, f, r in zip(
                    VGG_WEIGHTS, self.vgg(fake), self.vgg(image), strict=True
                )
            ),
        }

    def _discriminator_terms(self, layout: Tensor, image: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.generator(layout)
        on_fake, on_real = self._judge(layout, fake, image)
        return {
            "d_fake": _mean(F.relu(1 + p).mean() for p in _predictions(on_fake)),
            "d_real": _mean(F.relu(1 - p).mean() for p in _predictions(on_real)),
        }

    def _judge(
        self, layout: Tensor, fake: Tensor, image: Tensor
    ) -> tuple[Features, Features]:
        """The discriminator's features of fake and real pictures, seen together."""
        pairs = [torch.cat([layout, picture], dim=1) for picture in (fake, image)]
        features = self.discriminator(torch.cat(pairs, dim=0))
        half = len(fake)
        on_fake = [[layer[:half] for layer in scale] for scale in features]
        on_real = [[layer[half:] for layer in scale] for scale in features]
        return on_fake, on_real

    @contextlib.contextmanager
    def _only_generator_learns(self) -> Iterator[None]:
        if self.skip_unused:
            self.discriminator.requires_grad_(False)
        yield
        self.discriminator.requires_grad_(True)


def frozen(generator: SPADEGenerator) -> SPADEGenerator:
    """Divides the spectral norms out, in place; for evaluation only."""
    for module in generator.modules():
        if hasattr(module, "weight_orig"):
            remove_spectral_norm(module)
    return generator.eval()


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _predictions(features: Features) -> Iterator[Tensor]:
    return (_at_least_float32(scale[-1]) for scale in features)


def _l1(fake: Tensor, real: Tensor) -> Tensor:
    return F.l1_loss(_at_least_float32(fake), _at_least_float32(real.detach()))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _mean(values: Iterable[Tensor]) -> Tensor:
    values = list(values)
    return sum(values) / len(values)
