from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import text
from mmbench.errors import UnknownNameError
from mmbench.numbering import number
from mmbench.text import EOS, MANY, SPECIALS, TOKENIZERS, UNK, Vocabulary, tokenize

DATA = Path(
    os.environ.get("MMBENCH_TEST_DATA", Path(__file__).resolve().parents[1] / "../shared/data")
)

#: Text -> its tokens, observed in the Java program.
TRAPS = {
    "A man ,  in a red shirt . ": "a man in a red shirt",
    "What?! no?? yes!! ok.": "what ?! no ?? yes !! ok",
    "a (small) dog [sic] {x}": "a -lrb- small -rrb- dog -lsb- sic -rsb- -lcb- x -rcb-",
    "£5 or €5, 50% of 5¢": "# 5 or $ 5 50 % of 5 cents",
    "the 80's, 1950's and '60s": "the 80 's 1950 's and '60s",
    "at 5:54pm or 10:30 am": "at 5:54 pm or 10:30 am",
    "and/or a/c w/o w/ 24/7": "and/or a/c w/o w / 24/7",
    "3 3/4 cups, 1 1/2 spoons": "3\xa03/4 cups 1\xa01/2 spoons",
    "3 men": "3 men",
    "I cannot, gonna, gotta, Lemme, gimme, wanna": (
        "i can not gon na got ta lem me gim me wan na"
    ),
    "don't can't won't isn't it's I'm we're they've he'd she'll": (
        "do n't ca n't wo n't is n't it 's i 'm we 're they 've he 'd she 'll"
    ),
    "dogs' boy's James' o'clock O'Neil l'amour y'all 'til 'em": (
        "dogs boy 's james o'clock o'neil l'amour y' all 'til 'em"
    ),
    "a slip 'n' slide, rock'n'roll": "a slip 'n' slide rock 'n' roll",
    "‘smart’ “quotes” don’t": "smart quotes do n't",
    "in the U.S., at 5 p.m. on St. John's": "in the u.s. at 5 p.m. on st. john 's",
    "No. 5 is no. No": "no. 5 is no no",
    "Miss. but miss.": "miss. but miss",
    "t-shirt black-and-white -- a - b well- -known": (
        "t-shirt black-and-white a b well known"
    ),
    "man.The end.": "man.the end",
    "wait... what..": "wait what",
    "AT&T and b&w, H&M": "at&t and b & w h&m",
    "see www.foo.com, http://a.b/c?d=1 or me@foo.com": (
        "see www.foo.com http://a.b/c?d=1 or me@foo.com"
    ),
    '<person> and <a href="x"> b': '<person> and <a\xa0href="x"> b',
    "call (800) 555-1212 now": "call -lrb-800-rrb-\xa0555-1212 now",
    "1,000 dogs, 3.5 m, 2nd 4x4 5ft": "1,000 dogs 3.5 m 2nd 4x4 5ft",
    "a 😀 dog\u200b café naïve ½": "a dog café naïve 1/2",
    "*star* ~5 a_b _x_ a=b": "* star * ~ 5 a_b _ x _ a = b",
    ":) is a smile :-(": ":-rrb- is a smile :--lrb-",
    "你好 世界 привет мир हिन्दी": "你好 世界 привет мир हिन्दी",
    "x １２ cats ٣٤ men ۱.۵ m": "x １２ cats ٣٤ men ۱.۵ m",
    "a１ b２c 第３章 ５つ dog-३ १/२": "a１ b２c 第３章 ５つ dog-३ १/२",
    "a non\u2011breaking soft\u00adhyphen": "a non\u2011breaking softhyphen",
    "...": "",
    "": "",
    " \n\t ": "",
}  # fmt: skip


@pytest.mark.parametrize("given_text", TRAPS)
def test_ptb_knows_the_traps(given_text: str) -> None:
    assert tokenize([given_text])[0] == [t for t in TRAPS[given_text].split(" ") if t]


def java_tokens(captions: list[str], folder: Path) -> list[list[str]]:
    """Tokenise as pycocoevalcap does, but without writing into its own folder."""
    if shutil.which("java") is None:
        pytest.skip("the comparison with Stanford's tokeniser needs Java")
    module = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    jar = Path(module.__file__).with_name(module.STANFORD_CORENLP_3_4_1_JAR)
    if not jar.exists():
        pytest.skip(f"this pycocoevalcap ships without {jar.name}")
    lines = folder / "captions.txt"
    lines.write_text("\n".join(caption.replace("\n", " ") for caption in captions), "utf-8")
    command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar)]
    command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run([*command, str(lines)], capture_output=True, check=True)
    found = done.stdout.decode("utf-8").split("\n")[: len(captions)]
    drop = {"", *module.PUNCTUATIONS}
    return [[w for w in line.rstrip().split(" ") if w not in drop] for line in found]


def test_ptb_equals_java_on_the_traps(tmp_path: Path) -> None:
    captions = [caption for caption in TRAPS if caption.strip()]
    assert tokenize(captions) == java_tokens(captions, tmp_path)


def test_ptb_equals_java_on_flickr8k(tmp_path: Path) -> None:
    path = DATA / "flickr8k" / "dataset_flickr8k.json"
    if not path.exists():
        pytest.skip("Flickr8k is not here: set MMBENCH_TEST_DATA to the folder above flickr8k/")
    images = json.loads(path.read_text("utf-8"))["images"]
    captions = [sentence["raw"] for image in images for sentence in image["sentences"]]
    assert len(captions) > 40_000
    pairs = list(zip(captions, tokenize(captions), java_tokens(captions, tmp_path), strict=True))
    differ = [caption for caption, ours, theirs in pairs if ours != theirs]
    assert len(differ) <= 0.0003 * len(captions), differ[:5]


@given(st.text())
@settings(deadline=None)
def test_ptb_takes_any_text(given_text: str) -> None:
    tokens = tokenize([given_text])[0]
    assert all(token and token not in {".", ",", "!", "?", "''"} for token in tokens)
    assert not any(set(token) & set(" \n\t\ue000") for token in tokens)


@given(st.lists(st.sampled_from(["a", "No.", "5", "3/4", "<b", "c>", "it's", "(555)", "x."])))
@settings(deadline=None)
def test_ptb_forgets_what_it_saw_before(runs: list[str]) -> None:
    caption = " ".join(runs)
    before = tokenize([caption])
    text._runs.clear()
    assert tokenize([caption]) == before
    assert tokenize(["No. 5 3 3/4 x. <b", caption])[1] == before[0]


@pytest.mark.parametrize("run", ["a+", "a-", "a.", "'", "<a", "5:", "a@", "n't", "(", "_a", "ab/"])
def test_ptb_survives_a_degenerate_model(run: str) -> None:
    assert isinstance(tokenize([run * 500])[0], list)


def test_ptb_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text._Runs, "limit", 100)
    tokenize(f"x{i}" for i in range(1000))
    assert len(text._runs) <= 100


def test_words_are_split_at_white_space() -> None:
    assert tokenize(["A dog, runs.\n Fast"], "words") == [["a", "dog,", "runs.", "fast"]]


def test_an_unknown_tokenizer_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"tokeniser 'ptp'.*ptb.*words"):
        tokenize(["a"], "ptp")


def test_a_vocabulary_keeps_frequent_words_in_alphabetical_order() -> None:
    found = Vocabulary.build([["b", "a", "b"], ["c", "b", "a"]], min_count=2)
    assert found.words == (*SPECIALS, "a", "b")
    assert found.encode(["b", "c", "a"]) == [5, UNK, 4]
    assert len(found) == 6


def test_a_vocabulary_does_not_depend_on_the_order_of_the_texts() -> None:
    texts = [["b", "z"], ["a"], ["z", "m"]]
    assert Vocabulary.build(texts) == Vocabulary.build(reversed(texts))


def test_a_special_word_in_a_text_takes_no_second_place() -> None:
    found = Vocabulary.build([["<eos>", "a", "<unk>"]])
    assert found.words == (*SPECIALS, "a")


def test_decoding_stops_at_the_end_mark_and_drops_special_words() -> None:
    found = Vocabulary((*SPECIALS, "a", "b"))
    assert found.decode([1, 4, 3, 5, 0, EOS, 4]) == ["a", "b"]


@given(st.lists(st.sampled_from("abcde")))
def test_what_is_encoded_decodes_to_itself(tokens: list[str]) -> None:
    found = Vocabulary.build([list("abcde")])
    assert found.decode(found.encode(tokens)) == tokens


@pytest.mark.parametrize("words", [("a", "b"), (*SPECIALS, "a", "a")])
def test_a_vocabulary_refuses_words_that_are_none(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(words)


#: What texts are cut at, and what has another meaning beside its neighbours.
PIECES = [
    " ", "  ", "\t", "\n", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u3000", "a", "B", "dog.",
    "can't", "cannot", "gonna", "3", " 5 ", "1/2", "No.", " no. 5", "é",
    "\ufdd0", "", "😀", "<a", "b>",
    "(555)", " 555-1234", "isn't", "'", '"', "--", "...", "x\x00y",
]  # fmt: skip


@pytest.mark.parametrize("name", list(TOKENIZERS))
@pytest.mark.parametrize("extra", ["", "half a pair \ud800 of surrogates"])
def test_many_texts_have_the_tokens_that_each_has_alone(name: str, extra: str) -> None:
    draw = random.Random(0)
    texts = ["".join(draw.choices(PIECES, k=draw.randrange(9))) for _ in range(MANY + 5)] + [extra]
    wanted = TOKENIZERS[name].texts(texts)
    assert tokenize(texts, name) == wanted
    assert tokenize(iter(texts), name) == wanted
    numbers, lengths = number(texts, TOKENIZERS[name])
    assert lengths.tolist() == [len(tokens) for tokens in wanted]
    words: dict[int, str] = {}
    flat = [token for tokens in wanted for token in tokens]
    for found, token in zip(numbers.tolist(), flat, strict=True):
        assert words.setdefault(found, token) == token
    assert sorted(words) == list(range(len(set(flat))))
