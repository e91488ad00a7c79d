"""Two layers of a decoder with causal attention and rotary positions, and token ids for it."""

import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, TOKENS = 64, 4, 48


class Layer(nn.Module):
    """Attention over what came before, then a gated feed-forward."""

    def __init__(self):
        super().__init__()
        self.norm, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.gate, self.up, self.down = nn.Linear(WIDTH, 256), nn.Linear(WIDTH, 256), nn.Linear(256, WIDTH)

    def forward(self, x, cos, sin):
        """Return x with what the layer adds."""
        query, key, value = self.qkv(self.norm(x)).view(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key = turned(query, cos, sin), turned(key, cos, sin)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        after = self.after(x)
        return x + self.down(functional.silu(self.gate(after)) * self.up(after))


def turned(x, cos, sin):
    """Rotate each pair of columns by its token's angle."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


class Decoder(nn.Module):
    """An embedding, the layers, and scores of the next token."""

    def __init__(self):
        super().__init__()
        self.tokens, self.layers = nn.Embedding(500, WIDTH), nn.ModuleList([Layer(), Layer()])
        self.last = nn.LayerNorm(WIDTH)

    def forward(self, ids):
        """Return the logarithm of each token's probability, batch x tokens x vocabulary."""
        half = WIDTH // HEADS // 2
        angle = torch.arange(ids.shape[1])[:, None] * 10000.0 ** (-torch.arange(half) / half)
        x = self.tokens(ids)
        for layer in self.layers:
            x = layer(x, angle.cos(), angle.sin())
        return functional.log_softmax(self.last(x) @ self.tokens.weight.T, dim=-1)


def model():
    """Return the decoder and its inputs."""
    return Decoder(), torch.randint(500, (4, TOKENS))
