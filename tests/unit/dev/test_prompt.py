"""How simulated prompts are counted and cached."""

from typing import Any

from corvus_proxy.dev.prompt import Cache, Counted, count

TURN = {"role": "user", "content": "x" * 4000}
"""1,003 tokens."""


def test_text_is_four_characters_a_token() -> None:
    """Four characters a token, rounded up a part, and three a message."""
    assert count({"messages": [{"role": "user", "content": "abcde"}]}) == 2 + 3
    assert (
        count(
            {
                "system": "abcd",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "abcd"},
                            {"type": "text", "text": "a"},
                        ],
                    }
                ],
            }
        )
        == 1 + 3 + 2 + 3
    )


def test_media_have_a_flat_size() -> None:
    """An image is 1,000 tokens, however long its base64 text is."""
    block = {"type": "image", "source": {"type": "base64", "data": "A" * 100_000}}
    assert count({"messages": [{"role": "user", "content": [block]}]}) == 1_003


def messages(*turns: Any, **more: Any) -> dict[str, Any]:
    return {"model": "claude-opus-5-5", "messages": list(turns), **more}


def marked(text: str, ttl: str = "5m") -> dict[str, Any]:
    return {
        "role": "user",
        "content": [
            {"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}
        ],
    }


def test_anthropic_caches_up_to_its_breakpoints() -> None:
    """Written first, read on repetition; a longer conversation writes only what is new."""
    cache = Cache()
    first, again = marked("x" * 4000), messages(marked("x" * 4000))
    assert cache.count("anthropic", again, "c") == Counted(1_003, 0, 1_003, 0)
    assert cache.count("anthropic", again, "c") == Counted(1_003, 1_003, 0, 0)
    longer = messages(first, {"role": "assistant", "content": "yes!"}, marked("y" * 400, "1h"))
    assert cache.count("anthropic", longer, "c") == Counted(1_003 + 4 + 103, 1_003, 0, 107)
    assert cache.count("anthropic", longer, "c").read == 1_110
    assert cache.count("anthropic", again, "another").read == 0


def test_anthropic_without_breakpoint_or_too_short() -> None:
    """Nothing is cached unasked, nor under the minimum; an unmarked tail is plain input."""
    cache = Cache()
    assert cache.count("anthropic", messages(TURN), "c") == Counted(1_003, 0, 0, 0)
    assert cache.count("anthropic", messages(TURN), "c") == Counted(1_003, 0, 0, 0)
    assert cache.count("anthropic", messages(marked("short")), "c") == Counted(5, 0, 0, 0)
    tail = messages(marked("x" * 4000), TURN)
    assert cache.count("anthropic", tail, "c") == Counted(2_006, 0, 1_003, 0)


def test_openai_caches_prefixes_in_steps() -> None:
    """From 1,024 tokens in steps of 128, also where only the beginning is the same."""
    cache = Cache()
    short, longer = {"messages": [TURN]}, {"messages": [TURN, TURN]}
    assert cache.count("openai", short, "c") == Counted(1_003, 0, 0, 0)
    assert cache.count("openai", longer, "c") == Counted(2_006, 0, 1_920, 0)
    assert cache.count("openai", longer, "c") == Counted(2_006, 1_920, 0, 0)
    branched = {"messages": [TURN, {"role": "user", "content": "x" * 400 + "y" * 4_000}]}
    assert cache.count("openai", branched, "c").read == 1_024


def test_models_do_not_share_a_cache() -> None:
    """Another model reads nothing."""
    cache = Cache()
    cache.count("openai", {"model": "gpt-5.6-sol", "messages": [TURN, TURN]}, "c")
    assert cache.count("openai", {"model": "gpt-5.5", "messages": [TURN, TURN]}, "c").read == 0
