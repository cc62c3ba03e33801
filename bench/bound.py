"""How often a request's real input exceeds the bound that is held for it: `python -m bench.bound`.

Counts with every vocabulary that is to be had without a download at run time: the package `litellm`
carries those of GPT-4o and later (o200k), of GPT-4 (cl100k), of Claude 2 and of DeepSeek V3. They
are installed beside this project, `pip install --no-deps litellm tiktoken regex tokenizers`, and
are no part of it. Each body is compared with `gateway.quoting.input_bound` by the dearest of them,
its base tokens left out; the text is what an upstream reads, without the JSON around it. Where
GPT's and DeepSeek's counts are compared, the model is GPT; Claude 2's count plus 30 %, as newer
Claude models are said to yield, is compared with the bound of a Claude model.
"""

import base64
import importlib
import importlib.util
import itertools
import json
import os
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from corvus_proxy.catalogue import book
from corvus_proxy.gateway.quoting import input_bound
from corvus_proxy.settings import Settings
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect
from tests.oracle import dense

NEEDS = "bench.bound: pip install --no-deps litellm tiktoken regex tokenizers"
NEWER_CLAUDE_PERCENT = 130
Count = Callable[[str], int]


def vocabularies() -> dict[str, Count]:
    """Tokens of a text by vocabulary."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(NEEDS)
    folder = Path(spec.submodule_search_locations[0], "litellm_core_utils", "tokenizers")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        tiktoken = importlib.import_module("tiktoken")
        tokenizers = importlib.import_module("tokenizers")
    except ImportError:
        sys.exit(NEEDS)
    found: dict[str, Count] = {}
    for name in ("o200k_base", "cl100k_base"):
        encoding = tiktoken.get_encoding(name)
        found[name] = lambda text, encoding=encoding: len(
            encoding.encode(text, disallowed_special=())
        )
    for name in ("anthropic", "deepseek"):
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / f"{name}_tokenizer.json"))
        found[name] = lambda text, tokenizer=tokenizer: len(
            tokenizer.encode(text, add_special_tokens=False)
        )
    return found


def sent_texts() -> Iterator[str]:
    """What clients sent, each request as the text of a prompt (`CORVUS_CLIENTS`)."""
    for path in sorted(Path(os.environ.get("CORVUS_CLIENTS", "/nowhere")).glob("*.json")):
        for sent in json.loads(path.read_text())["requests"]:
            if isinstance(sent.get("body"), dict):
                yield json.dumps(sent["body"], ensure_ascii=False)


def recorded_texts() -> Iterator[str]:
    """Recorded answers as the text of a prompt (`CORVUS_RECORDINGS`)."""
    for path in sorted(Path(os.environ.get("CORVUS_RECORDINGS", "/nowhere")).glob("*")):
        if path.suffix != ".tsv":
            yield path.read_bytes().decode("utf-8", "replace")


def project_texts() -> Iterator[str]:
    """This project's own sources and documents: prose, Python, Cython, Lua, SQL."""
    root = Path(__file__).parent.parent
    for pattern in ("docs/*.md", "corvus_proxy/**/*.py", "corvus_proxy/**/*.lua"):
        for path in sorted(root.glob(pattern)):
            yield path.read_text()
    for pattern in ("corvus_proxy/**/*.pyx", "corvus_proxy/**/*.pxd", "corvus_proxy/**/*.sql"):
        for path in sorted(root.glob(pattern)):
            yield path.read_text()


def worst(count: Count, seed: int = 11) -> Iterator[str]:
    """Texts that a search made dear: of random small alphabets those with the most tokens for
    their bound are changed further."""
    source = random.Random(seed)
    small, printable = dense.KINDS["l"], "".join(map(chr, range(32, 127)))
    pools = (
        small,
        small + " ",
        small + "0123456789 ",
        small + dense.KINDS["U"],
        printable + "\n\t",
    )

    def ratio(text: str) -> float:
        return count(text) / dense.text_tokens(text)

    for pool in pools * 4:
        best = "".join(source.choice(pool) for _ in range(6))
        best_ratio = ratio(best * 40)
        for _ in range(300):
            at = source.randrange(len(best))
            letter = source.choice(pool)
            tried = best[:at] + letter + best[at + source.randrange(2) :]
            found = ratio(tried * 40)
            if len(tried) <= 24 and found >= best_ratio:
                best, best_ratio = tried, found
        yield best * 40


def measure(texts: Iterator[str], counts: dict[str, Count]) -> dict[str, list[float]]:
    """Real tokens / bound of each text, by family."""
    settings = Settings()
    models = book.load(settings.pricing)
    found: dict[str, list[float]] = {"gpt": [], "claude": []}
    for text, slug in itertools.product(texts, ("gpt-5.5", "claude-opus-5-5")):
        model = models.find(slug)
        assert model is not None
        turn = [{"role": "user", "content": text}]
        asked = request.read(
            Dialect.CHAT, json.dumps({"model": "m", "messages": turn}).encode("utf-8", "replace")
        )
        empty = request.read(
            Dialect.CHAT, b'{"model":"m","messages":[{"role":"user","content":""}]}'
        )
        bound = input_bound(asked, model, settings.hold) - input_bound(empty, model, settings.hold)
        if model.family == "anthropic":
            tokens = counts["anthropic"](text) * NEWER_CLAUDE_PERCENT / 100
            # A byte-level tokenizer has no more tokens than bytes.
            tokens = min(tokens, len(text.encode("utf-8", "replace")))
            found["claude"].append(tokens / max(1, bound))
        else:
            tokens = max(count(text) for count in counts.values())
            found["gpt"].append(tokens / max(1, bound))
    return found


def main() -> None:
    counts = vocabularies()
    kinds: dict[str, Iterator[str]] = {
        "what clients sent": sent_texts(),
        "recorded answers": recorded_texts(),
        "this project's files": project_texts(),
        "made to be dear": (text for _, text in dense.texts()),
        "found to be dear": itertools.chain(*(worst(count) for count in counts.values())),
        "random base64": (
            base64.b64encode(random.Random(size).randbytes(size)).decode()
            for size in (200, 2_000, 50_000)
        ),
    }
    print(f"{'texts':24}{'family':>8}{'count':>7}{'exceeded':>10}{'median':>9}{'highest':>9}")
    for kind, texts in kinds.items():
        for family, shares in measure(texts, counts).items():
            over = sum(share > 1 for share in shares)
            middle = statistics.median(shares) if shares else 0
            print(
                f"{kind:24}{family:>8}{len(shares):7}{over:10}{middle:9.2f}"
                f"{max(shares, default=0):9.2f}"
            )


if __name__ == "__main__":
    main()
