"""Masked autoencoder (He et al. 2021, arXiv 2111.06377) around timm's vision transformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import build_sincos2d_pos_embed  # pyright: ignore[reportAttributeAccessIssue]
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

# The statistics that every published encoder of this kind uses (ImageNet, RGB in [0, 1]).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# Patches of rendered scenes are often flat: with the paper's 1e-6, their noise would have unit
# variance and dominate the loss.
PIXEL_VARIANCE_EPS = 1e-2

SEGMENT_CELLS = 8
"""Number of places along a patch's side whose class is predicted."""
SEGMENT_WEIGHTS = (1.0, 1.0, 1.5, 2.0, 8.0, 2.0)
"""Loss weights of background, table, arm, gripper, cube and box; small objects have more."""


class MaskedAutoencoder(nn.Module):
    """Encode the visible patches, decode all, and compare normalized pixels of the masked ones.

    Args:
        encoder: square-image timm ViT with a class token and no output projection; its position
            embedding is replaced by the fixed 2-D sine-cosine one.
        decoder_dim: width of the decoder.
        decoder_depth: number of decoder blocks.
        decoder_heads: attention heads of the decoder.
        segments_weight: weight of the segmentation loss at all places; 0 for none (He et al.); more
            adds one task of MultiMAE (Bachmann et al. 2022, arXiv 2204.01678).
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder_dim: int = 128,
        decoder_depth: int = 2,
        decoder_heads: int = 4,
        segments_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.segments_weight = segments_weight
        self.grid = encoder.patch_embed.grid_size[0]
        self.patch = encoder.patch_embed.patch_size[0]
        width = encoder.embed_dim
        encoder.pos_embed = _fixed_positions(self.grid, width)
        self.decoder_embed = nn.Linear(width, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.decoder_positions = _fixed_positions(self.grid, decoder_dim)
        self.decoder_blocks = nn.ModuleList(
            [Block(decoder_dim, decoder_heads, qkv_bias=True) for _ in range(decoder_depth)]
        )
        self.decoder_norm = nn.LayerNorm(decoder_dim, eps=1e-6)
        self.decoder_head = nn.Linear(decoder_dim, self.patch**2 * 3)
        nn.init.normal_(self.mask_token, std=0.02)
        if segments_weight:
            self.segment_head = nn.Linear(decoder_dim, SEGMENT_CELLS**2 * len(SEGMENT_WEIGHTS))

    def forward(
        self, images: torch.Tensor, keep: torch.Tensor, segments: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and the predicted pixels.

        Args:
            images: ``(B, 3, S, S)``, normalized.
            keep: ``(B, V)`` int64 indices of the visible patches.
            segments: ``(B, s, s)`` uint8 classes, ``SEGMENT_CELLS`` along a patch's side; only if
                ``segments_weight`` is above 0.

        Returns:
            Mean squared error over masked patches, plus the weighted cross-entropy of the segments
            of all patches (scalar), and the predicted normalized pixels ``(B, N, patch² · 3)``.
        """
        decoded = self.decode_tokens(self.encode(images, keep), keep)
        predicted = self.decoder_head(decoded)
        target = normalize_patches(patchify(images, self.patch))
        error = (predicted.float() - target).square().mean(dim=-1)  # (B, N)
        masked = torch.ones_like(error).scatter_(1, keep, 0.0)
        loss = (error * masked).sum() / masked.sum()
        if segments is not None:
            loss = loss + self.segments_weight * self._segment_loss(decoded, segments)
        return loss, predicted

    def _segment_loss(self, decoded: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        predicted = self.segment_head(decoded).float().unflatten(-1, (-1, len(SEGMENT_WEIGHTS)))
        true = patchify(segments.unsqueeze(1), SEGMENT_CELLS).long()  # (B, N, cells²)
        weights = torch.tensor(SEGMENT_WEIGHTS, device=predicted.device)
        return F.cross_entropy(predicted.flatten(0, 2), true.flatten(), weights)

    def encode(self, images: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Return the tokens ``(B, 1 + V, C)`` of the class token and the visible patches.

        Args:
            images: ``(B, 3, S, S)``, normalized.
            keep: ``(B, V)`` int64 indices of the visible patches.
        """
        positions = self.encoder.get_parameter("pos_embed")
        tokens = _gather(self.encoder.patch_embed(images) + positions[:, 1:], keep)  # (B, V, C)
        prefix = self.encoder.get_parameter("cls_token") + positions[:, :1]
        tokens = torch.cat([prefix.expand(len(images), -1, -1), tokens], dim=1)
        return self.encoder.norm(self.encoder.blocks(tokens))

    def decode(self, tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Return the normalized pixels ``(B, N, patch² · 3)`` of every patch.

        Args:
            tokens: ``(B, 1 + V, C)``.
            keep: ``(B, V)`` int64 indices of the visible patches.
        """
        return self.decoder_head(self.decode_tokens(tokens, keep))

    def decode_tokens(self, tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Return the decoder's token ``(B, N, decoder_dim)`` of every patch.

        Args:
            tokens: ``(B, 1 + V, C)``.
            keep: ``(B, V)`` int64 indices of the visible patches.
        """
        embedded = self.decoder_embed(tokens)
        full = self.mask_token.to(embedded.dtype).repeat(len(tokens), self.grid**2, 1)
        index = keep.unsqueeze(-1).expand(-1, -1, embedded.shape[-1])
        full = full.scatter(1, index, embedded[:, 1:])
        full = torch.cat([embedded[:, :1], full], dim=1) + self.decoder_positions
        for block in self.decoder_blocks:
            full = block(full)
        return self.decoder_norm(full)[:, 1:]


def _fixed_positions(grid: int, width: int) -> nn.Parameter:
    """Return fixed sine-cosine positions ``(1, 1 + grid², width)``, zero for the class token."""
    positions = build_sincos2d_pos_embed([grid, grid], dim=width)
    positions = torch.cat([torch.zeros(1, width), positions])
    return nn.Parameter(positions.unsqueeze(0), requires_grad=False)


def _gather(tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    return tokens.gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def visible_patches(
    batch: int, patches: int, mask_ratio: float, generator: torch.Generator
) -> torch.Tensor:
    """Return random indices ``(B, V)`` of the visible patches, sorted along the last axis.

    Args:
        batch: B, number of images.
        patches: number of patches of an image.
        mask_ratio: share of the patches that are masked, between 0 and 1.
        generator: random generator.

    Raises:
        ValueError: no patch would be visible, or none masked.
    """
    visible = round(patches * (1 - mask_ratio))
    if not 0 < visible < patches:
        raise ValueError(
            f"mask_ratio {mask_ratio} leaves {visible} of {patches} patches; "
            "choose one between 0 and 1 that masks some patches and leaves some visible"
        )
    order = torch.rand(batch, patches, generator=generator).argsort(dim=1)
    return order[:, :visible].sort(dim=1).values


def patchify(images: torch.Tensor, patch: int) -> torch.Tensor:
    """Return patches ``(B, N, patch² · channels)`` of images, row by row.

    Args:
        images: ``(B, channels, S, S)``.
        patch: side of a patch [px].

    Examples:
        >>> images = torch.rand(1, 3, 32, 32)
        >>> patchify(images, 16).shape
        torch.Size([1, 4, 768])
        >>> torch.equal(unpatchify(patchify(images, 16), 16), images)
        True
    """
    batch, channels, height, width = images.shape
    grid = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch**2 * channels)


def unpatchify(patches: torch.Tensor, patch: int) -> torch.Tensor:
    """Return square images ``(B, 3, S, S)`` from their patches.

    Args:
        patches: ``(B, N, patch² · 3)``.
        patch: side of a patch [px].

    Examples:
        >>> unpatchify(torch.zeros(2, 4, 768), 16).shape
        torch.Size([2, 3, 32, 32])
    """
    batch, number, _ = patches.shape
    side = round(number**0.5)
    grid = patches.reshape(batch, side, side, patch, patch, 3)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, side * patch, side * patch)


def normalize_patches(patches: torch.Tensor) -> torch.Tensor:
    """Return patches with zero mean and unit variance (the paper's ``norm_pix_loss``)."""
    mean, deviation = patch_moments(patches)
    return (patches - mean) / deviation


def patch_moments(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the regularized standard deviation ``(B, N, 1)`` of each patch."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = (
        (patches - mean).square().mean(dim=-1, keepdim=True)
    )  # several times faster than torch.var
    return mean, (variance + PIXEL_VARIANCE_EPS).sqrt()


def normalize_pixels(crops: torch.Tensor) -> torch.Tensor:
    """Return images ``(B, 3, S, S)`` uint8 as float32, normalized with ImageNet's statistics."""
    mean = torch.tensor(MEAN, device=crops.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=crops.device).view(1, 3, 1, 1) * 255
    return (crops.float() - mean) / std
