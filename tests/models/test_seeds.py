"""Five textbook examples: they have the layers that are printed, and what was wrong is mended."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench import catalog, registry
from mmbench.errors import MissingExtraError, SpecError
from mmbench.models.encoders._networks import Pieces
from mmbench.models.model import Model
from mmbench.predict import predict
from mmbench.references import LabelReferences
from mmbench.run import Run
from mmbench.spec import BudgetSpec, DecodingSpec
from mmbench.text import SPECIALS
from mmbench.train import train
from mmbench.types import Batch, Modality, Output, Ragged, Signature, Split
from mmbench.weights import digest

SEEDS = [
    "seed_linear_concat",
    "seed_lstm_cnn",
    "seed_cross_transformer",
    "seed_encoder_decoder",
    "seed_bert_vit",
]
WORDS = (*SPECIALS, "good", "bad", "dull", "fine")
#: What the examples are for: an image and a text, good or bad.
PAIR = Signature(
    {"image": Modality("image", (3, 16, 16)), "words": Modality("text", (6,), WORDS)},
    {"mood": Output("multilabel", 1, ("good",))},
)


@cache
def made(name: str) -> Model:
    """Return an example as it ships, for an image and a text."""
    return tiny.make(catalog.model(name), 0, PAIR)


def pairs(count: int, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        count,
        {
            "image": torch.randint(0, 256, (count, 3, 16, 16), generator=draw, dtype=torch.uint8),
            "words": torch.randint(len(SPECIALS), len(WORDS), (count, 6), generator=draw),
        },
        {"words": torch.randint(1, 7, (count,), generator=draw)},
        {name: torch.ones(count, dtype=torch.bool) for name in PAIR.modalities},
        {"mood": torch.randint(0, 2, (count, 1), generator=draw).float()},
    )


def said(model: Model, batch: Batch) -> Tensor:
    branches = model.fuse(batch).branches
    return model.verdict("mood", branches, batch.targets["mood"]).combined.answer


def parts(model: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [part for part in model.modules() if type(part) is kind]


@pytest.mark.parametrize("name", SEEDS)
def test_an_example_is_a_model_that_says_what_was_mended(name: str) -> None:
    model = catalog.model(name)
    assert not model.matched
    assert model.departs
    text = (catalog._folder("baselines") / f"{name}.toml").read_text(encoding="utf-8")
    assert "the printed code lacked, and how it is mended" in text
    assert made(name).encoders.keys() == {"image", "words"}
    for component in (model.fusion, *model.encoders.values()):
        kind = "fusion" if component is model.fusion else "encoder"
        assert registry.load(kind, component.name).__doc__


# --- a linear layer each, and one on both --------------------------------------------------------


def test_linear_layers_are_those_that_are_printed() -> None:
    model = made("seed_linear_concat")
    layers = parts(model.encoders, nn.Linear)
    assert [(layer.in_features, layer.out_features) for layer in layers] == [
        (3 * 16 * 16, 128),
        (len(WORDS), 128),
    ]
    fusion = [
        m for m in model.fusion.modules() if next(m.parameters(recurse=False), None) is not None
    ]
    assert fusion == [model.fusion.fusion_layer]
    assert (fusion[0].in_features, fusion[0].out_features) == (2 * 128, 128)


@torch.no_grad()
def test_linear_layers_say_what_the_printed_lines_say_and_a_head_stands_on_it() -> None:
    model, batch = made("seed_linear_concat"), pairs(5)
    image, text = (model.encoders[name].layer for name in ("image", "words"))
    pixels = batch.inputs["image"].float().flatten(1) / 127.5 - 1.0
    real = torch.arange(6) < batch.lengths["words"][:, None]
    bag = (F.one_hot(batch.inputs["words"], len(WORDS)) * real[..., None]).sum(dim=1)
    bag = bag / batch.lengths["words"][:, None]
    both = torch.cat([image(pixels), text(bag)], dim=1)
    (branch,) = model.fuse(batch).branches
    assert torch.allclose(branch.pooled, model.fusion.fusion_layer(both), atol=1e-5)
    assert model.heads["mood"][0](branch, batch.targets["mood"]).answer.shape == (5, 1, 2)


# --- LSTM and CNN --------------------------------------------------------------------------------


def test_lstm_and_cnn_have_the_sizes_that_are_printed() -> None:
    model = made("seed_lstm_cnn")
    (cell,) = parts(model, nn.LSTM)
    assert (cell.hidden_size, cell.num_layers, cell.bidirectional) == (64, 1, False)
    (filters,) = parts(model, nn.Conv2d)
    assert (filters.in_channels, filters.out_channels, filters.kernel_size) == (3, 64, (3, 3))
    assert filters.padding == (0, 0)
    (pooling,) = parts(model, nn.MaxPool2d)
    assert pooling.kernel_size == 2
    spec = catalog.model("seed_lstm_cnn")
    assert (spec.recipe.batch_size, spec.width) == (32, 64)
    assert spec.heads["multilabel"].name == "dense_multilabel"


@torch.no_grad()
def test_two_arrays_that_cannot_be_laid_side_by_side_are_summed_up_first() -> None:
    model, batch = made("seed_lstm_cnn"), pairs(5)
    maps = model.encoders["image"].pool(
        torch.relu(model.encoders["image"].filters(batch.inputs["image"].float() / 255.0))
    )
    words = model.encoders["words"]
    states, _ = words.cell(words.tokens(batch.inputs["words"], batch.lengths["words"])[0])
    assert maps.shape == (5, 64, 7, 7)
    assert states.shape == (5, 6, 64)
    with pytest.raises(RuntimeError, match="dimensions"):
        torch.cat([states, maps.permute(0, 2, 3, 1)], dim=-1)  # the printed call
    last = states[torch.arange(5), batch.lengths["words"] - 1]
    both = torch.cat([maps.mean(dim=(2, 3)), last], dim=1)  # [B, 64 + 64]
    first, second = model.fusion.fusion_layer, model.heads["mood"][0].last
    # Two linear layers are one: Dense(1, sigmoid) on the concatenation, and nothing else.
    dense = nn.Linear(128, 1)
    dense.weight.copy_(second.weight @ first.weight)
    dense.bias.copy_(second.weight @ first.bias + second.bias)
    chance = torch.sigmoid(dense(both))
    assert torch.allclose(said(model, batch)[..., 1].exp(), chance, atol=1e-5)


@torch.no_grad()
def test_the_loss_of_the_dense_head_is_binary_cross_entropy() -> None:
    model, batch = made("seed_lstm_cnn"), pairs(5)
    answer = said(model, batch)
    found = model.head_of("mood", 0).nll(answer, batch.targets["mood"])
    expected = F.binary_cross_entropy(answer[..., 1].exp(), batch.targets["mood"])
    assert torch.allclose(found, expected, atol=1e-6)


def test_dense_heads_are_one_layer() -> None:
    for kind, output in (
        ("label", Output("label", 3, ("a", "b", "c"))),
        ("multilabel", Output("multilabel", 1, ("a",))),
        ("scalar", Output("scalar", 1)),
    ):
        head = registry.load("head", f"dense_{kind}")(output, 8)
        (layer,) = parts(head, nn.Linear)
        assert len(list(head.parameters())) == 2
        assert layer.in_features == 8


def test_a_picture_that_is_too_small_for_a_filter_and_its_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="a picture of 3 x 9 is too small"):
        registry.load("encoder", "conv_pool")(Modality("image", (1, 3, 9)), 8)


# --- cross-attention -----------------------------------------------------------------------------


def test_transformers_and_attention_are_torchs_own() -> None:
    model = made("seed_cross_transformer")
    assert len(parts(model, nn.TransformerEncoder)) == 2
    layers = parts(model, nn.TransformerEncoderLayer)
    assert len(layers) == 2 * 2
    attentions = model.fusion.cross_attention
    assert set(attentions) == {"image", "words"}
    for attention in attentions.values():
        assert type(attention) is nn.MultiheadAttention
        assert (attention.embed_dim, attention.num_heads, attention.batch_first) == (64, 4, True)
        assert attention.kdim == attention.vdim == 64
    assert all(layer.self_attn.batch_first for layer in layers)
    weights = [layer.linear1.weight for layer in layers]
    assert not torch.equal(weights[0], weights[1]), "torch copies one layer, weights and all"


@torch.no_grad()
def test_padding_is_not_heard_as_it_is_without_a_mask() -> None:
    model, batch = made("seed_cross_transformer"), pairs(5)
    streams = model.streams(batch)
    words = streams["words"]
    assert not words.mask.all()
    other = {**streams, "words": changed(words, x=words.x + 5.0 * ~words.mask[..., None])}
    (before,), (after,) = (model.fusion(s).branches for s in (streams, other))
    assert torch.allclose(before.pooled, after.pooled, atol=1e-5)
    encoder, attention = model.fusion.encoders["words"], model.fusion.cross_attention["image"]

    def unmasked(x: Tensor) -> Tensor:  # the printed calls
        text = encoder(x)
        image = model.fusion.encoders["image"](streams["image"].x)
        found, _ = attention(image, text, text)
        assert isinstance(found, Tensor)
        return found

    gap = unmasked(words.x) - unmasked(other["words"].x)
    assert gap.abs().max() > 1e-3


def changed(stream: Any, **changes: Any) -> Any:
    return replace(stream, **changes)


@torch.no_grad()
def test_the_order_of_words_matters() -> None:
    model, batch = made("seed_cross_transformer"), pairs(1)
    batch.lengths["words"][:] = 6  # type: ignore[index]
    batch.inputs["words"][0] = torch.tensor([4, 5, 6, 7, 4, 5])
    before = said(model, batch)
    batch.inputs["words"][0] = torch.tensor([5, 4, 7, 6, 5, 4])
    assert (said(model, batch) - before).abs().max() > 1e-5


def test_each_modality_asks_the_others() -> None:
    model, batch = made("seed_cross_transformer"), pairs(3)
    streams = model.streams(batch)
    asked: dict[str, tuple[int, int]] = {}
    for name, attention in model.fusion.cross_attention.items():
        attention.register_forward_hook(
            lambda _m, args, _o, name=name: asked.update(
                {name: (args[0].shape[1], args[1].shape[1])}
            )
        )
    model.fusion(streams)
    sizes = {name: s.x.shape[1] for name, s in streams.items()}
    assert asked == {
        "image": (sizes["image"], sizes["words"]),
        "words": (sizes["words"], sizes["image"]),
    }
    made.cache_clear()


@torch.no_grad()
def test_items_of_a_batch_do_not_attend_to_one_another() -> None:
    model, batch = made("seed_cross_transformer"), pairs(4)
    whole = said(model, batch)
    batch.inputs["words"][1:] = 4
    assert torch.allclose(said(model, batch)[0], whole[0], atol=1e-6)


# --- encoder and decoder -------------------------------------------------------------------------


@torch.no_grad()
def test_the_decoder_attends_to_the_features_of_every_modality() -> None:
    world = tiny.CAPTIONS
    model = world.make(world.spec("seed_encoder_decoder"))
    batch = tiny.batch(world.split(5, whole=True), model)
    (branch,) = model.fuse(batch).branches
    streams = model.streams(batch)
    assert branch.seq.shape[1] == sum(s.x.shape[1] for s in streams.values())
    learned = {name.partition(".")[0] for name, _ in model.fusion.named_parameters()}
    assert learned == {"marks", "norms"}, "nothing between encoders and decoder but that"


# --- BERT and ViT --------------------------------------------------------------------------------

transformers = pytest.importorskip("transformers", reason="install mmbench[hf]")


def test_bert_and_vit_are_those_of_transformers() -> None:
    model = made("seed_bert_vit")
    text, image = (model.encoders[name].network for name in ("words", "image"))
    assert type(text) is transformers.BertModel
    assert type(image) is transformers.ViTModel
    assert text.pooler is image.pooler is None
    assert (text.config.hidden_size, image.config.hidden_size) == (64, 64)
    captions = tiny.CAPTIONS.make(tiny.CAPTIONS.spec("seed_bert_vit"))
    assert type(captions.encoders["audio"].network) is transformers.Wav2Vec2BertModel


@torch.no_grad()
def test_first_tokens_are_concatenated_and_go_through_one_linear_layer() -> None:
    model, batch = made("seed_bert_vit"), pairs(5)
    text, image = (model.encoders[name].network for name in ("words", "image"))
    firsts = [image(pixel_values=batch.inputs["image"].float() / 127.5 - 1.0)[0][:, 0, :]]
    marks = len(WORDS), len(WORDS) + 1
    rows = []
    for words, length in zip(batch.inputs["words"], batch.lengths["words"], strict=True):
        alone = torch.tensor([[marks[0], *words[:length].tolist(), marks[1]]])
        rows.append(text(input_ids=alone, attention_mask=torch.ones_like(alone))[0][:, 0, :])
    firsts.append(torch.cat(rows))
    (branch,) = model.fuse(batch).branches
    expected = model.fusion.fusion_layer(torch.cat(firsts, dim=1))
    assert torch.allclose(branch.pooled, expected, atol=1e-5)


@torch.no_grad()
def test_without_the_attention_mask_padding_would_be_read_as_words() -> None:
    model, batch = made("seed_bert_vit"), pairs(5)
    encoder = model.encoders["words"]
    mask = torch.arange(6) < batch.lengths["words"][:, None]
    pieces, real = encoder.pieces(batch.inputs["words"], mask)
    assert not real.all()
    masked = encoder.network(input_ids=pieces, attention_mask=real)[0][:, 0]
    printed = encoder.network(input_ids=pieces)[0][:, 0]
    short = ~real.all(dim=1)
    assert ((masked - printed).abs().amax(dim=1) > 1e-4).tolist() == short.tolist()


def test_pieces_stand_between_two_marks_in_the_order_of_the_words() -> None:
    class Reader:
        cls_token_id, sep_token_id, pad_token_id, unk_token_id = 90, 91, 92, 93

        def __call__(self, word: str, add_special_tokens: bool) -> Mapping[str, list[int]]:
            assert not add_special_tokens
            return {"input_ids": {"good": [1], "bad": [2, 3], "dull": [4, 5, 6]}[word]}

    pieces = Pieces(("<pad>", "<unk>", "good", "bad", "dull"), Reader(), limit=7)
    words = torch.tensor([[3, 2, 4], [2, 1, 0], [4, 4, 4]])
    found, real = pieces(words, torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1]]).bool())
    assert found.tolist() == [
        [90, 2, 3, 1, 91, 92, 92],
        [90, 1, 93, 91, 92, 92, 92],
        [90, 4, 5, 6, 4, 5, 91],  # cut at what the network can read
    ]
    assert real.sum(dim=1).tolist() == [5, 4, 7]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A BERT of 24 numbers and its tokenizer in a folder, as a published one would be."""
    folder = tmp_path / "bert"
    folder.mkdir()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "du", "##ll", "fine"]
    (folder / "vocab.txt").write_text("\n".join(names) + "\n")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(names),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """A ViT of images of 32 x 32 in a folder."""
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@torch.no_grad()
def test_weights_from_a_folder_are_used_with_their_tokenizer(bert: Path, vit: Path) -> None:
    settings = [
        f"encoders.text.params.weights={bert}",
        f"encoders.image.params.weights={vit}",
    ]
    model = tiny.make(catalog.model("seed_bert_vit", settings), 0, PAIR)
    own = transformers.BertModel.from_pretrained(bert, add_pooling_layer=False)
    for name, value in model.encoders["words"].network.state_dict().items():
        assert torch.equal(value, own.state_dict()[name]), name
    assert isinstance(model.encoders["words"].project, nn.Linear), "24 numbers to 64"
    batch = pairs(3)
    batch.inputs["words"][0] = torch.tensor([4, 6, 7, 0, 0, 0])  # good dull fine
    batch.lengths["words"][0] = 3  # type: ignore[index]
    reader = transformers.AutoTokenizer.from_pretrained(bert)
    asked = reader("good dull fine", return_tensors="pt")
    assert asked["input_ids"].tolist() == [[2, 5, 7, 8, 9, 3]]
    first = own.eval()(**asked)[0][:, 0]
    tokens, mask = model.encoders["words"](batch.inputs["words"], batch.lengths["words"])
    assert mask[0].sum() == 6
    assert torch.allclose(tokens[:1, 0], model.encoders["words"].project(first), atol=1e-5)
    seen, _ = model.encoders["image"](batch.inputs["image"], None)
    assert seen.shape == (3, 1 + 16, 64), "resized to 32 x 32, in patches of 8"


def test_weights_are_pinned_by_their_content_not_by_their_folder(bert: Path) -> None:
    task = catalog.task("synergy")

    def identity() -> str:
        model = catalog.model("seed_bert_vit", [f"encoders.sequence.params.weights={bert}"], task)
        return Run(task, model, "smoke", 0).identity

    before = identity()
    (bert / "README.md").write_text("nothing that is read\n")
    assert identity() == before
    weights = bert / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert identity() != before, "else a run on other weights would pass for finished"
    weights.write_bytes(content)
    assert identity() == before


def test_published_weights_are_pinned_by_the_commit_that_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert digest("somebody/tiny") == ""
    assert digest("no name: at all") == ""
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = tmp_path / "models--somebody--tiny"
    (kept / "snapshots" / commit).mkdir(parents=True)
    (kept / "snapshots" / commit / "config.json").write_text("{}")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    assert digest("somebody/tiny") == commit


@pytest.mark.parametrize(
    ("kind", "weights", "told"),
    [
        ("text", "no/such/folder", "weights 'no/such/folder': "),
        ("text", "{vit}", "weights '{vit}': "),
        ("image", "{bert}", "are of a network of type 'bert', and ViTModel is needed"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    kind: str, weights: str, told: str, bert: Path, vit: Path
) -> None:
    places = {"bert": bert, "vit": vit}
    setting = f"encoders.{kind}.params.weights={weights.format(**places)}"
    with pytest.raises(SpecError) as caught:
        tiny.make(catalog.model("seed_bert_vit", [setting]), 0, PAIR)
    assert told.format(**places) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_of_other_channels_than_the_weights_is_refused(vit: Path) -> None:
    with pytest.raises(ValueError, match="an image of 1 channels, and weights for 3"):
        registry.load("encoder", "pretrained")(Modality("image", (1, 16, 16)), 8, weights=str(vit))


def test_what_is_missing_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mmbench\[hf\]'"):
        tiny.make(catalog.model("seed_bert_vit"), 0, PAIR)
    tiny.make(catalog.model("seed_lstm_cnn"), 0, PAIR)  # which needs none


# --- each learns ---------------------------------------------------------------------------------


def planted(count: int, seed: int) -> Split:
    """Draw images and texts: red or blue, good or bad; the mood is a weighted vote of both."""
    draw = np.random.default_rng(seed)
    red, good = draw.integers(0, 2, count), draw.integers(0, 2, count)
    image = draw.integers(0, 100, (count, 3, 16, 16), dtype=np.uint8)
    image[np.arange(count), np.where(red, 0, 2)] += 120
    lengths = draw.integers(2, 7, count)
    words = draw.integers(6, 8, (count, 6))
    words[:, 1] = np.where(good, 4, 5)
    words[np.arange(6) >= lengths[:, None]] = 0
    classes = 2 * red + good
    moods = tuple(f"{r}{g}" for r in ("blue", "red") for g in ("bad", "good"))
    return Split(
        ids=[f"item{n}" for n in range(count)],
        inputs={"image": image, "words": Ragged(words, lengths)},
        targets={"mood": classes},
        references={"mood": LabelReferences(classes, moods)},
    )


class Silent:
    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        pass


@pytest.mark.parametrize("name", SEEDS)
def test_an_example_learns_what_is_planted_in_both_modalities(name: str) -> None:
    names = tuple(f"{r}{g}" for r in ("blue", "red") for g in ("bad", "good"))
    signature = Signature(PAIR.modalities, {"mood": Output("label", 4, names)})
    model = tiny.make(msgspec.structs.replace(catalog.model(name), width=32), 0, signature)
    data = {"train": planted(256, 1), "val": planted(64, 2)}
    recipe = catalog.model(name).recipe
    train(model, data, recipe, BudgetSpec(256, 120, 1), 0, lambda _: 0.0, Silent())
    test = planted(200, 3)
    told = predict(model, test, DecodingSpec(beams=1)).outputs["mood"]
    truth = test.references["mood"]
    right = [truth.classes[label] == said for label, said in zip(truth.labels, told, strict=True)]  # type: ignore[attr-defined]
    assert np.mean(right) > 0.9, "one modality alone knows half of it"
