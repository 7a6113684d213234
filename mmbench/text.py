"""Words: tokenisers by name, and the vocabulary that maps words to ids and back.

The tokeniser ``ptb`` is what caption metrics are defined on: pycocoevalcap runs Stanford's
PTBTokenizer (3.4.1, ``-preserveLines -lowerCase``) in Java and then drops a list of punctuation.
Here it is written anew in Python from its observed behaviour; on all 40,455 captions of Flickr8k
the tokens are the same. What it does to a run of non-blank characters hardly ever depends on the
neighbours, so each distinct run is taken apart once and remembered; the few constructs that reach
across a blank are joined beforehand.

Where it knowingly departs from the Java program: letters that Java's old Unicode tables lack are
kept instead of dropped; the line separators of Unicode count as blanks instead of shifting all
later captions by one line; emoticons beyond the usual ones, and literal ``-LRB-`` typed by hand,
are taken apart.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, pairwise

from mmbench.errors import UnknownNameError

#: From so many texts on Arrow cuts them, see `mmbench.numbering`.
MANY = 10_000

#: The special words, in the order of their ids.
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows; the id of a word is its place.

    Attributes:
        words: All words, the four of `SPECIALS` first; none twice.
        ids: Word -> id, derived from `words`.
    """

    words: tuple[str, ...]
    ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[: len(SPECIALS)] != SPECIALS:
            raise ValueError(f"a vocabulary begins with {SPECIALS}, got {self.words[:4]}")
        object.__setattr__(self, "ids", {word: place for place, word in enumerate(self.words)})
        if len(self.ids) != len(self.words):
            twice = next(word for word, n in Counter(self.words).items() if n > 1)
            raise ValueError(f"a vocabulary holds each word once, got {twice!r} twice")

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """Collect the words of tokenised texts, in alphabetical order.

        The order is by word, not by count: one more text shifts no two words against each other.

        Args:
            texts: The tokens of each text.
            min_count: Words rarer than this become ``<unk>``.
        """
        counts = Counter(token for tokens in texts for token in tokens)
        kept = (word for word, count in counts.items() if count >= min_count)
        return cls((*SPECIALS, *sorted(set(kept) - set(SPECIALS))))

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of `tokens`; unknown words become ``<unk>``; no mark is added."""
        return [self.ids.get(token, UNK) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the words of `ids` up to the first ``<eos>``, without the special words."""
        tokens = []
        for place in ids:
            if place == EOS:
                break
            if place >= len(SPECIALS):
                tokens.append(self.words[place])
        return tokens


def tokenize(texts: Iterable[str], tokenizer: str = "ptb") -> list[list[str]]:
    """Take texts apart into tokens.

    Args:
        texts: As people, or models, wrote them.
        tokenizer: ``ptb``: as pycocoevalcap does, lower-case and without punctuation;
            ``words``: lower-case, split at white space.

    Returns:
        The tokens of each text; an empty text has none.

    Raises:
        UnknownNameError: No tokeniser has that name.

    >>> tokenize(["A man's dog, isn't it?!"])
    [['a', 'man', "'s", 'dog', 'is', "n't", 'it', '?!']]
    """
    if tokenizer not in TOKENIZERS:
        raise UnknownNameError("tokeniser", tokenizer, TOKENIZERS)
    texts = texts if isinstance(texts, Sequence) else list(texts)
    if len(texts) < MANY:
        return TOKENIZERS[tokenizer].texts(texts)
    from mmbench.numbering import listed

    with _without_gc():
        return listed(texts, TOKENIZERS[tokenizer])


def _words(texts: Iterable[str]) -> list[list[str]]:
    return list(map(_words_of, texts))


def _words_of(text: str) -> list[str]:
    return text.lower().split()


# --- the Penn Treebank way -----------------------------------------------------------------------

#: What pycocoevalcap drops after tokenising. It means to drop brackets too (``-LRB-``), but
#: compares after lower-casing, so they stay.
_DROPPED = frozenset(['"', "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

#: Tokens that are written differently afterwards.
_RENAMED = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "£": "#", "€": "$", "¢": "cents", "¤": "$", "₠": "$",
    "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "&amp;": "&", "&lt;": "<", "&gt;": ">",
}  # fmt: skip

#: Stands for a blank inside one token, until the token is done: then it is a no-break space.
_GLUE = "\ue000"

#: Characters that are written differently inside a longer token.
_INSIDE = str.maketrans({"(": "-lrb-", ")": "-rrb-", "’": "'", _GLUE: "\xa0"})

#: Abbreviations that keep their full stop: found by trying all words of up to five letters.
_ABBREVIATIONS = (
    "adj|adm|adv|al|ala|alex|apr|ariz|assn|assoc|asst|atty|attys|aug|ave|bancorp|bhd|bldg|blvd|"
    "brig|bros|calif|capt|cf|cie|cmdr|co|col|colo|comdr|conn|corp|cos|cpl|ct|dak|dec|dept|det|dr|"
    "drs|elec|ens|esq|est|etc|ext|feb|fla|fri|ft|ga|gen|gov|govs|hon|inc|ind|insp|intl|invt|jan|"
    "jos|jr|jul|jun|kan|kans|ky|lieut|lt|ltd|maj|mar|md|messrs|mfg|mich|minn|mlle|mme|mo|mon|"
    "mont|mr|mrs|ms|msgr|mt|mtg|natl|neb|nev|nov|oct|okla|penn|pfc|ph|plc|ppte|pptes|ppty|pptys|"
    "pres|prof|profs|pte|ptes|pty|ptys|pvt|rd|rep|reps|rev|rt|sen|sens|sep|sept|seq|sfc|sgt|spc|"
    "sq|sr|st|ste|supt|supts|sys|tel|tenn|thu|thurs|treas|tue|tues|univ|va|vs|vt|wed|wis|wisc|wm|"
    "wyo"
)
#: Those that do so only with a capital, and only before a number.
_CAPITALISED = (
    "Ark|ARK|Az|AZ|Del|DEL|Ill|ILL|La|LA|Mass|MASS|Miss|MISS|Ore|ORE|Pa|PA|Tex|TEX|Wash|WASH"
)
_NUMBERED = "art|ca|figs?|nos?|op|pp|prop"

#: Words of letters alone that become two tokens.
_TWO_IN_ONE = frozenset(["cannot", "gonna", "gotta", "lemme", "gimme", "wanna"])

_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u0e31-\u0e4e"
)
_L = rf"(?:[^\W\d_\U00010000-\U0010ffff²³¹¼-¾⁰-\u209c\u2150-\u218f]|[{_MARKS}])"  # a letter
_A = rf"(?:{_L}|\d)"  # a letter or digit
_END = rf"(?!{_A})"
_APO = "['’]"
_CLITIC = rf"(?:{_APO}(?:s|m|d|ll|re|ve)|n{_APO}t){_END}"
_NUM = r"(?:\d*(?:[.,:]\d+)+|\d+)"
_WORD = rf"{_L}{_A}*(?:[.!?]{_L}{_A}*)*"
_PART = rf"(?:{_L}(?:\.{_L})+\.?{_END}|{_A}+)"  # what hyphens join

#: The shapes of a token. At each place the longest match wins, the first of equals. Where a shape
#: has a group, only that is taken: the rest is what must follow.
_SHAPES = (
    r"</?[a-z][^<>]*>|<!--[^<>]*-->",
    r"https?://[^\s\"<>|()]+[^\s\"<>|.!?,;:(){}\[\]'-]",
    rf"{_A}[\w.+-]{{0,64}}@{_A}[\w-]*(?:\.[\w-]+)*",
    rf"(?:www\.)?{_A}[\w-]*(?:\.{_A}[\w-]*)*\.(?:com|net|org|edu){_END}",
    rf"#{_L}+|@[a-z_]\w*",
    # Words that are two: do|n't, can|not.
    rf"({_L}+)n{_APO}t{_END}",
    rf"(can)not{_END}|(gon|wan)na{_END}|(got)ta{_END}|(lem|gim)me{_END}",
    rf"({_APO}t)(?:is|was){_END}",
    rf"(y{_APO})(?={_L})",
    _CLITIC,
    # Words with an apostrophe inside.
    rf"(?!{_L}+{_CLITIC})(?:(?:[dlno]|(?-i:[A-HJ-XZ])){_APO}{_L}{{2,}}"
    rf"|{_L}+[aeiouy]{_APO}(?:[aeiou]|(?-i:[A-Z])){_L}*)",
    rf"{_APO}(?:n{_APO}|[2-9]0s)|{_APO}(?:em|till?|cause|n|[0-9][0-9]){_END}(?!{_APO}s|\")",
    rf"(?:somethin|ol){_APO}{_END}|(?:c{_APO}mon|s{_APO}mores|nor{_APO}easter|li{_APO}l"
    rf"|nat{_APO}l|e{_APO}er|ev{_APO}ry|ma{_APO}am){_END}|[djl]{_APO}{_END}",
    # Words.
    _WORD,
    rf"\d+{_L}{_A}*|{_A}+(?:_{_A}+)+",
    rf"(?:[dlo]{_APO}(?={_L}{{2}}))?(?:{_WORD}|{_NUM}|{_PART})(?:[-\u2011]{_PART})+",
    rf"{_A}+(?:-{_A}+)*(?:/{_A}+(?:-{_A}+)*)+",
    r"(?-i:[A-Z]+&[A-Z]+)|c\+\+|c#",
    # Abbreviations.
    rf"{_L}(?:\.{_L})+\.{_END}|{_L}\.(?!{_L})|ph\.?d\.?{_END}",
    rf"(?:{_ABBREVIATIONS})\.{_END}",
    rf"(?-i:(?:{_CAPITALISED})\.){_END}",
    rf"((?:{_NUMBERED})\.){_GLUE}?[0-9]",
    # Numbers.
    rf"[-+]?{_NUM}",
    rf"[0-9]{{1,4}}[-{_GLUE}]?[0-9]{{1,4}}/[0-9]{{1,4}}",
    rf"\([0-9]{{3}}\)[-{_GLUE}]?[0-9]{{3}}[-{_GLUE}][0-9]{{4}}",
    rf"[0-9]{{3}}{_GLUE}[0-9]{{3}}[-{_GLUE}][0-9]{{4}}",
    r"(?-i:[A-Z]{1,3}\$)",
    # Signs.
    r"(?-i:[:;=]-?[()DP\]])|:[|@]|:'\(|\^_\^|-_-",
    r"&(?:amp|lt|gt|quot|apos);",
    r"[!?]+|-{5,}|\*+|#+|@+|_+|<<|>>",
    r"[\x21-\x7e¡-ª¬®-º¼-¿×÷‚„‟•′″⁰-\u209c₠€⅓-⅞™\u2190-\u2bff、。！-／：-＠［-｀｛-･]",
)

#: What most other runs are, and each of it one token: a word of letters alone with a comma or a
#: full stop behind it, words joined by hyphens, digits.
_PLAIN = re.compile(r"([A-Za-z]{2,})[.,]")
_WHOLE = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)+|[0-9]+")
_NOT_PLAIN = _TWO_IN_ONE.union(_ABBREVIATIONS.split("|"), _CAPITALISED.lower().split("|"), ["phd"])

#: Constructs that reach across a blank, and how a run begins that can be part of one.
_NUMBERED_STOP = rf"(?:{_NUMBERED})\."
_JOINED = re.compile(
    r"</?[a-z][^<>]*>|<!--[^<>]*-->"
    r"|(?<![\w/.,-])[0-9]{1,4}\s+[0-9]{1,4}/[0-9]{1,4}(?!\w)"
    r"|(?<!\S)(?:\([0-9]{3}\)|[0-9]{3})\s+[0-9]{3}[-\s][0-9]{4}(?!\w)"
    rf"|(?<!\w){_NUMBERED_STOP}\s+(?=[0-9])",
    re.IGNORECASE,
)
_ACROSS = re.compile(
    rf"[^<]*<(?:[/!]?[a-z]|!--)[^>]*$|\(?[0-9]{{1,4}}\)?$|.?{_NUMBERED_STOP}$", re.IGNORECASE
)


@cache
def _shapes() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(shape, re.IGNORECASE) for shape in _SHAPES)


def _lex(run: str) -> tuple[str, ...]:
    """Return the tokens of a run of non-blank characters, punctuation dropped."""
    if run.isalpha() and run.isascii() and run.lower() not in _TWO_IN_ONE:
        return (run.lower(),)
    plain = _PLAIN.fullmatch(run)
    if plain and plain[1].lower() not in _NOT_PLAIN:
        return (plain[1].lower(),)
    if _WHOLE.fullmatch(run):
        return (run.lower(),)
    run = run.replace("&apos;", "'").replace("&quot;", '"').replace("\xad", "")
    shapes = _shapes()
    tokens = []
    place = 0
    while place < len(run):
        found = [match for shape in shapes if (match := shape.match(run, place))]
        if not found:  # a quotation mark, a dash, a control character, an emoji: no token
            place += 1
            continue
        longest = max(found, key=lambda match: match.end())
        token = longest[longest.lastindex or 0]
        place += len(token)
        tokens.append(_RENAMED.get(token) or token.translate(_INSIDE).lower())
    return tuple(token for token in tokens if token not in _DROPPED)


class _NeighboursError(KeyError):
    """What becomes of a run depends on the runs beside it."""


class _Runs(dict[str, tuple[str, ...]]):
    """Run of non-blank characters -> its tokens, remembered."""

    #: More than any corpus has; a bound, so that a long process does not grow for ever.
    limit = 1 << 18

    def __missing__(self, run: str) -> tuple[str, ...]:
        if not run.isalpha() and _ACROSS.match(run):
            raise _NeighboursError(run)
        if len(self) >= self.limit:
            self.clear()
        self[run] = tokens = _lex(run)
        return tokens


_runs = _Runs()


def forget() -> None:
    """Forget what has been taken apart so far."""
    _runs.clear()


def _ptb_run(run: str) -> tuple[str, ...] | None:
    if run.isalpha() and run.isascii() and run.lower() not in _TWO_IN_ONE:
        return (run.lower(),)  # as `_lex` says, without a place in memory
    try:
        return _runs[run]
    except _NeighboursError:
        return None


@contextmanager
def _without_gc() -> Iterator[None]:
    """Leave the collector of circles out of it: a list of words is none, and it looks at each.

    On 40,000 captions it takes a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _ptb(texts: Iterable[str]) -> list[list[str]]:
    with _without_gc():
        return _ptb_lists(texts)


def _ptb_lists(texts: Iterable[str]) -> list[list[str]]:
    found, tokens_of = [], _runs.__getitem__
    for text in texts:  # one loop for all: a call for each text would take a fifth of the time
        try:
            tokens = [*chain.from_iterable(map(tokens_of, text.split()))]
        except _NeighboursError:
            joined = _JOINED.sub(lambda match: re.sub(r"\s+", _GLUE, match[0]), text)
            tokens = [token for run in joined.split() for token in _runs.get(run) or _lex(run)]
        found.append(tokens)
    return found


@dataclass(frozen=True)
class Tokenizer:
    """One way to take texts apart.

    Attributes:
        texts: From texts to the tokens of each.
        run: From a run of non-blank characters to its tokens, the same wherever it stands; None
            where they depend on what stands beside it, and only `texts` knows them.
    """

    texts: Callable[[Iterable[str]], list[list[str]]]
    run: Callable[[str], Sequence[str] | None]


#: Tokeniser by name.
TOKENIZERS: dict[str, Tokenizer] = {
    "ptb": Tokenizer(_ptb, _ptb_run),
    "words": Tokenizer(_words, _words_of),
}


def steps_needed(target: Sequence[int]) -> int:
    """Return the fewest steps in which CTC can say symbols: a blank parts equal neighbours.

    >>> steps_needed([3, 3, 5])
    4
    """
    return len(target) + sum(a == b for a, b in pairwise(target))
