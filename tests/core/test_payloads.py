"""Any object becomes JSON: bounded, marked where changed, without running the object's code."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import re
import threading
import time
import types
import typing
import unittest.mock
import uuid

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay_core import payload_snapshots
from relay_core.payloads import DEFAULT_LIMITS, Encoder, Frozen, Limits, freeze
from relay_core.redaction import REDACTED, Redactor
from relay_core.settings import Settings

encoder = Encoder()


def strict(raw):
    def refuse(literal):
        raise AssertionError(literal)

    return json.loads(raw.decode("utf-8"), parse_constant=refuse)


def tree_of(obj, with_encoder=encoder):
    frozen = with_encoder.freeze(obj)
    raw = with_encoder.json(frozen)
    tree = strict(raw)
    assert with_encoder.tree(frozen) == tree
    assert b"\n" not in raw
    return tree


def note(**fields):
    return {"$relay": fields}


# --- ordinary values ---------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int


@attrs.define
class Defined:
    x: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    inner: Point | None = None
    secret: pydantic.SecretStr = pydantic.SecretStr("hunter2")


class Pair(typing.NamedTuple):
    a: int
    b: int


class Text(str):
    __slots__ = ()


class Whole(int): ...


class Real(float): ...


ORDINARY = [
    (None, None),
    (True, True),
    (-0.0, -0.0),
    ({"a": [1, 2.5, "x", None]}, {"a": [1, 2.5, "x", None]}),
    ((1, (2,)), [1, [2]]),
    ({1}, [1]),
    (frozenset({1}), [1]),
    (collections.deque([1, 2]), [1, 2]),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.Counter("aa"), {"a": 2}),
    (collections.defaultdict(list, a=[1]), {"a": [1]}),
    (collections.UserDict({"a": 1}), {"a": 1}),
    (collections.UserList([1]), [1]),
    (collections.UserString("x"), "x"),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (types.SimpleNamespace(a=1), {"a": 1}),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.items(), [["a", 1]]),
    (Color.RED, "red"),
    (Point(1, Point(2)), {"x": 1, "y": {"x": 2, "y": None}}),
    (Slotted(1), {"x": 1}),
    (Defined(1), {"x": 1}),
    (Pair(1, 2), [1, 2]),
    (Text("x"), "x"),
    (Whole(5), 5),
    (Real(1.5), 1.5),
    (
        Model(name="n", inner=Point(1), more=2),
        {"name": "n", "inner": {"x": 1, "y": None}, "secret": REDACTED, "more": 2},
    ),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal("1.50"), "1.50"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05Z"),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.timedelta(seconds=90), "PT90S"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (re.compile("a+"), "a+"),
    (range(3), {**note(type="range"), "start": 0, "stop": 3, "step": 1}),
    (1 + 2j, {**note(type="complex"), "real": 1.0, "imag": 2.0}),
    (ValueError("bad", 1), {**note(type="ValueError"), "args": ["bad", 1]}),
    (int, note(type="type", name="int")),
    (json.dumps, note(type="function", name="json.dumps")),
    (object(), note(type="object")),
    (threading.Lock(), note(type="_thread.lock")),
    ((x for x in ()), note(type="generator")),
    (unittest.mock.MagicMock(), note(type="unittest.mock.MagicMock")),
    (array.array("i", [1]), note(type="array.array")),
]


@pytest.mark.parametrize(("value", "expected"), ORDINARY)
def test_ordinary_values_at_every_depth(value, expected):
    assert tree_of(value) == expected
    assert tree_of({"a": value}) == {"a": expected}
    assert tree_of([[[[{"deep": (value,)}]]]]) == [[[[{"deep": [expected]}]]]]
    assert tree_of([value, 10**400])[0] == expected  # the same by the careful encoder
    assert tree_of([value, {1: 2}])[0] == expected


def test_minus_zero_survives():
    assert math.copysign(1, tree_of([-0.0])[0]) == -1


def test_containers_are_copied_and_large_text_is_shared():
    text = "x" * 1000
    request = {"messages": [{"content": text}], "n": [1]}
    snapshot = freeze(request)
    request["messages"][0]["content"] = "changed"
    request["n"].append(2)
    assert encoder.tree(snapshot) == {"messages": [{"content": text}], "n": [1]}
    large = "x" * 2_000_000
    assert freeze({"messages": [{"content": large}]})["messages"][0]["content"] is large


def test_a_bytearray_stays_free_to_change():
    data, view = bytearray(b"abc"), bytearray(b"xyz")
    frozen = freeze([data, [[[[memoryview(view)]]]], memoryview(view)])
    data.extend(b"def")
    view.extend(b"def")
    assert strict(encoder.json(frozen))[0]["$relay"]["type"] == "bytearray"


# --- markers -----------------------------------------------------------------------------------------------------


def test_bytes_show_their_size_and_head():
    assert tree_of(b"abc") == note(type="bytes", size=3, base64="YWJj")
    for value in (b"a" * 1000, bytearray(b"a" * 1000), memoryview(b"a" * 1000), type("B", (bytes,), {})(b"a" * 1000)):
        for payload in (value, [value], {"a": {"b": [value]}}):
            found = json.dumps(tree_of(payload))
            assert '"size": 1000' in found and len(found) < 300, payload


def test_numbers_that_json_lacks():
    assert tree_of([math.nan, math.inf, -math.inf, None]) == [
        note(nonfinite="NaN"),
        note(nonfinite="Infinity"),
        note(nonfinite="-Infinity"),
        None,
    ]
    assert tree_of(10**400) == note(int=str(10**400))
    assert tree_of([2**64 - 1, -(2**63)]) == [2**64 - 1, -(2**63)]
    assert tree_of([2**64, -(2**63) - 1]) == [note(int=str(2**64)), note(int=str(-(2**63) - 1))]
    huge = tree_of({"n": -(10**5000)})["n"]["$relay"]
    assert huge["int"].startswith("-0x") and huge["bits"] == (10**5000).bit_length() and huge["truncated"]


def test_lone_surrogates_stay_readable():
    assert tree_of("a\ud800b") == note(surrogates="a\\ud800b")
    assert tree_of({"k\udfff": 1}) == {"k\\udfff": 1, **note(keys=["surrogates"])}
    assert tree_of({"ok": "é\U0001f600"}) == {"ok": "é\U0001f600"}


def test_keys_become_text_and_none_is_lost():
    found = tree_of({1: "a", "1": "b", None: "c", (1, "x"): "e", 1.5: "f", True + 1: "g"})
    assert sorted(found.pop("$relay")["keys"]) == ["NoneType", "float", "int", "tuple"]
    assert found == {"1": "b", "1#2": "a", "null": "c", "(1, 'x')": "e", "1.5": "f", "2": "g"}
    keys = {object(): 1, object(): 2, b"b": 3, Color.RED: 4, uuid.UUID(int=1): 5}
    found = tree_of(keys)
    assert sorted(v for k, v in found.items() if k != "$relay") == [1, 2, 3, 4, 5]
    assert tree_of({"k" * 5000: 1}).keys() == {"k" * 1024 + "...(5000)", "$relay"}


def test_a_users_marker_stays_apart():
    mine = {"$relay": {"cycle": True}, "$$relay": 1, "$relay2": 2, "relay": 3}
    assert tree_of(mine) == {"$$relay": {"cycle": True}, "$$$relay": 1, "$relay2": 2, "relay": 3}
    assert tree_of({"t": '"$relay"'}) == {"t": '"$relay"'}
    made = encoder.tree(encoder.freeze([math.nan, mine]))
    assert encoder.tree(encoder.freeze(made), markers=True)[0] == note(nonfinite="NaN")
    assert strict(encoder.json(encoder.freeze(made[0]), markers=True)) == note(nonfinite="NaN")


def test_cycles():
    ring = {}
    ring["self"] = ring
    assert tree_of(ring) == {"self": note(cycle=True)}
    row = [1]
    row.append(row)
    assert tree_of({"deep": {"er": {"still": {"x": row}}}})["deep"]["er"]["still"]["x"] == [1, note(cycle=True)]
    point = Point(1)
    point.y = [point]
    assert tree_of(point) == {"x": 1, "y": [note(cycle=True)]}
    error = ValueError()
    error.args = (error,)
    assert tree_of(error)["$relay"] == {"type": "ValueError"}
    shared = [1]
    assert tree_of([shared, shared]) == [[1], [1]]


def test_limits():
    small = Encoder(Limits(max_depth=3, max_items=2, max_string=10, max_bytes=100_000))
    assert tree_of([[[[1]]]], small) == [[[note(depth=3)]]]
    assert tree_of([1, 2, 3], small) == [1, 2, note(items=3, kept=2)]
    assert tree_of({"a": 1, "b": 2, "c": 3}, small) == {"a": 1, "b": 2, **note(items=3, kept=2)}
    assert tree_of({"deep": [[1, 2, 3]]}, small) == {"deep": [[1, 2, note(items=3, kept=2)]]}
    assert tree_of("0123456789A", small) == note(truncated=True, length=11, head="0123456789", tail="123456789A")
    assert tree_of("0123456789", small) == "0123456789"
    tiny = Encoder(Limits(max_bytes=100))
    whole = tree_of(["a" * 60] * 20, tiny)
    assert whole["$relay"]["truncated"] and whole["$relay"]["bytes"] > 100
    many = tree_of(["é" * 900_000] * 40)
    assert len(json.dumps(many)) < 40_000_000


def test_the_runtimes_settings_are_limits_and_rules():
    made = Encoder(Settings().payload, Settings().redaction)
    assert tree_of({"password": "x", "a": 1}, made) == {"password": REDACTED, "a": 1}
    assert Limits() == DEFAULT_LIMITS
    for field in Limits.__struct_fields__:
        assert getattr(Settings().payload, field) == getattr(DEFAULT_LIMITS, field)


def test_a_cut_does_not_show_half_of_a_credential():
    token = "ghp_aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYabcd"
    for offset in range(4060, 4100):
        written = json.dumps(tree_of("." * offset + token + "." * 1_000_000))
        assert "aB3dE5" not in written
    for offset in range(990, 1060, 3):
        assert "W0xYabcd" not in json.dumps(tree_of("." * 1_000_000 + token + "." * offset))


def test_one_dag_is_not_unfolded_for_ever():
    bomb = [1]
    for _ in range(60):
        bomb = [bomb, bomb]
    start = time.thread_time()
    frozen = freeze({"x": bomb})
    assert time.thread_time() - start < 2
    assert b'"time":true' in encoder.json(frozen)


# --- frozen parts ------------------------------------------------------------------------------------------------


def test_frozen_parts_are_spliced_and_scrubbed():
    part = Frozen(freeze({"role": "user", "content": "password=hunter2", "n": math.nan}))
    plain = {"role": "user", "content": f"password={REDACTED}", "n": note(nonfinite="NaN")}
    payload = {"messages": [part, part], "model": "m"}
    frozen = freeze(payload)
    assert frozen["messages"][0] is part
    assert tree_of(payload) == {"messages": [plain, plain], "model": "m"}
    assert tree_of({**payload, 1: 2})["messages"] == [plain, plain]
    assert tree_of({"password": Frozen("hunter2")}) == {"password": REDACTED}
    assert tree_of(part) == plain
    assert tree_of([part, {"$relay": 1}]) == [plain, {"$$relay": 1}]
    raw = Encoder(redaction=Redactor(enabled=False))
    assert b"hunter2" in raw.json(frozen)
    assert b"hunter2" not in encoder.json(frozen)


# --- hostile objects ---------------------------------------------------------------------------------------------


class Trap(BaseException):
    """Not an Exception, so that no careless handler hides it."""


def members(act):
    def call(*_args, **_kwargs):
        return act()

    names = (
        "__repr__ __str__ __getattr__ __getattribute__ __len__ __iter__ __eq__ __bool__ __format__ __call__ "
        "__getitem__ __contains__ __next__ __int__ __float__ __index__ __dir__ __reduce_ex__ __sizeof__ __bytes__ __fspath__ "
        "keys values items get copy __or__ __ror__ __add__ __radd__ __reversed__ __enter__ __await__ __missing__"
    ).split()
    return {**dict.fromkeys(names, call), "__hash__": object.__hash__, "__class__": property(call)}


def raises():
    raise Trap


def hangs():
    time.sleep(30)


def recurses():
    return recurses()


ACTS = {"raise": raises, "hang": hangs, "lie": lambda: 10**9, "recurse": recurses}
BASES = {
    "object": (object, ()),
    "dict": (dict, ({"a": 1},)),
    "list": (list, ([1],)),
    "tuple": (tuple, ([1],)),
    "set": (set, ([1],)),
    "frozenset": (frozenset, ([1],)),
    "str": (str, ("x",)),
    "int": (int, (5,)),
    "float": (float, (1.5,)),
    "bytes": (bytes, (b"x",)),
    "bytearray": (bytearray, (b"x",)),
    "deque": (collections.deque, ([1],)),
    "exception": (ValueError, ("x",)),
    "datetime": (dt.datetime, (2026, 1, 1)),
    "date": (dt.date, (2026, 1, 1)),
    "decimal": (decimal.Decimal, ("1",)),
    "uuid": (uuid.UUID, ()),
    "point": (Point, (1,)),
}


def hostile(act, base, args):
    kind = type("Hostile", (base,), members(ACTS[act]))
    made = base.__new__(kind, *args)
    if base is Point:
        object.__setattr__(made, "x", 1)
    elif base is uuid.UUID:
        uuid.UUID.__dict__["int"].__set__(made, 7)
    elif base not in (str, int, float, bytes, tuple, frozenset, dt.datetime, dt.date, decimal.Decimal, object):
        base.__init__(made, *args)
    return made


EXPECTED = {"dict": {"a": 1}, "list": [1], "tuple": [1], "set": [1], "frozenset": [1], "str": "x", "int": 5, "float": 1.5, "deque": [1], "point": {"x": 1, "y": None}, "uuid": str(uuid.UUID(int=7)), "decimal": "1", "date": "2026-01-01", "datetime": "2026-01-01T00:00:00"}  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("base", BASES)
def test_no_code_of_a_hostile_object_runs(act, base, monkeypatch):
    monkeypatch.setattr("relay_core.payload_walk._BUDGET", 20.0)  # a garbage collection in a big process takes its time
    value = hostile(act, *BASES[base])
    start = time.perf_counter()
    results = [tree_of(value), tree_of([value])[0], tree_of({"a": value})["a"], tree_of((value, 10**400))[0]]
    results.append(tree_of({"a": {"b": [value]}})["a"]["b"][0])
    results.append(tree_of([object(), [[{"n": n} for n in range(500)], [value]]])[1][1][0])  # wide, but not plain
    assert time.perf_counter() - start < 10  # any hang is 30 s
    assert all(result == results[0] for result in results)
    if base in EXPECTED:
        assert results[0] == EXPECTED[base]
    else:
        assert "Hostile" in results[0]["$relay"]["type"]
    assert tree_of({value if base not in ("dict", "list", "set", "bytearray", "deque") else 1: 1})
    encoder.name(value)
    encoder.text(value)


@pytest.mark.parametrize("base", BASES)
def test_code_that_the_encoder_runs_deep_in_a_payload_raises_nothing_into_the_program(base):
    value = hostile("raise", *BASES[base])
    tree = tree_of({"a": [1, 2, 3, 4, 5, {"x": 1}, value]})
    assert tree["a"][:6] == [1, 2, 3, 4, 5, {"x": 1}]
    assert tree["a"][6] == tree_of(value)
    if base == "uuid":
        assert next(iter(tree_of({"a": {value: 1}})["a"].values())) == 1


class Pair(typing.NamedTuple):
    a: list
    b: int


class Holder(msgspec.Struct):
    held: typing.Any


@pytest.mark.parametrize("base", ["set", "frozenset", "uuid", "decimal", "point"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: [{1, 2}, {"deep": [value]}],
        lambda value: Point([[value]]),
        lambda value: [Holder([value])],
        lambda value: collections.OrderedDict(a=[[value]]),
        lambda value: [Pair([value], 1)],
        lambda value: [{1}, *[{"n": n} for n in range(300)], [[[value]]]],
    ],
)
def test_what_the_encoder_goes_into_by_itself_is_looked_at(base, wrap):
    start = time.perf_counter()
    tree_of(wrap(hostile("hang", *BASES[base])))
    assert time.perf_counter() - start < 10  # any hang is 30 s


def test_long_text_that_is_not_ascii_is_not_encoded_by_the_caller():
    text = "\u00e9" * 50_000_000
    for payload in (text, {"x": text}, {"messages": [{"role": "user", "content": text}]}, ["a", [text]]):
        spent = []
        for _ in range(3):
            start = time.thread_time()
            freeze(payload)
            spent.append(time.thread_time() - start)
        assert min(spent) < 0.05, payload.keys() if isinstance(payload, dict) else type(payload)
    assert freeze({"x": text})["x"] is text


def test_the_short_way_and_the_careful_way_agree():
    values = [
        {"a": [1, 2.5, None, True, "x"]}, [math.nan], [[-math.inf]], {"a": {1: 2}}, {"a": {"b": b"x"}}, [2**64 - 1, -(2**63)],
        {"$relay": 1}, {"price": "$5"}, {"a": [[uuid.UUID(int=1)]]}, {"k" * 2000: 1}, {"a": {"k" * 2000: "v"}}, ["x" * 3000],
        {"a": {"password": "hunter2"}}, nested(70), {"n": list(range(30_000))}, ["\u00e9"], {}, [], [[[dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]]],
    ]  # fmt: skip
    for limits in (Limits(), Limits(max_depth=3, max_items=4, max_string=6, max_bytes=300)):
        made = Encoder(limits)
        for value in values:
            assert made.json(freeze(value)) == made._encode(freeze(value), False)[0], value
            assert made.json(made.freeze(value)) == made._encode(freeze(value), False)[0], value


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("act", ACTS)
def test_a_lying_metaclass_is_not_asked(act):
    def call(*_args):
        return ACTS[act]()

    names = (
        "__getattribute__",
        "__repr__",
        "__eq__",
        "__hash__",
        "__instancecheck__",
        "__subclasscheck__",
        "__iter__",
        "__len__",
        "mro2",
    )
    meta = type("Meta", (type,), {**dict.fromkeys(names, call), "__mro__": property(call), "__name__": property(call)})
    kind = types.new_class("Odd", (), {"metaclass": meta})
    value = object.__new__(kind)
    start = time.perf_counter()
    assert tree_of([value, kind])[0]["$relay"]["type"].endswith("Odd")
    assert tree_of({"a": value})["a"]["$relay"]["type"].endswith("Odd")
    assert time.perf_counter() - start < 10


def test_properties_and_odd_classes():
    class Computed:
        @property
        def __dict__(self):
            raise Trap

        @property
        def value(self):
            raise Trap

    class Fields:
        __dataclass_fields__ = 5
        __pydantic_fields__ = property(raises)

    @dataclasses.dataclass
    class Late:
        x: int

        def __getattr__(self, name):
            raise Trap

    class Shown(Point):
        @property
        def x(self):
            raise Trap

        @x.setter
        def x(self, value): ...

    class Choice(enum.Enum):
        A = 1

    def trapped(self, name):
        raise Trap

    Choice.__getattribute__ = trapped
    assert tree_of(Computed())["$relay"]["type"].endswith("Computed")
    tree_of(Fields())
    assert tree_of(object.__new__(Late)) == {"x": None}
    tree_of(object.__new__(Shown))
    assert tree_of([Choice._member_map_["A"]]) == [1]
    pydantic_less = type("Fake", (), {"__pydantic_core_schema__": 1, "__pydantic_extra__": property(raises)})()
    assert tree_of(pydantic_less) == {}


class Zone(dt.tzinfo):
    def utcoffset(self, when):
        raise Trap


def test_a_time_zone_of_user_code_is_named():
    found = tree_of([dt.datetime(2026, 1, 1, tzinfo=Zone())])
    assert "$relay" in found[0]


def test_big_hostile_values_take_bounded_time():
    deep = []
    for _ in range(5000):
        deep = [deep]
    many = {str(i): i for i in range(1_000_000)}
    for payload in ({"x": "x" * 100_000_000}, many, {"a": {"b": many}}, list(many), set(many), collections.OrderedDict(many), deep,
                    {"d": deep}, b"x" * 100_000_000, bytearray(100_000_000), memoryview(bytes(100_000_000)), 10**200_000,
                    [[b"x" * 100_000_000]], many.keys(), collections.deque(many)):  # fmt: skip
        start = time.thread_time()
        frozen = freeze(payload)
        took = time.thread_time() - start
        assert took < 1, type(payload)  # about 20 ms
        assert len(encoder.json(frozen)) < DEFAULT_LIMITS.max_bytes


def test_nothing_raises_without_stack():
    def down(level):
        try:
            down(level + 1)
        except RecursionError:
            seen.append(freeze({"a": [Point(1)]}))
            raise

    seen = []
    with pytest.raises(RecursionError):
        down(0)
    assert len(seen) > 0


def test_a_dictionary_that_changes_meanwhile():
    shared = {str(i): [i] for i in range(3000)}
    stop = threading.Event()

    def churn():
        number = 0
        while not stop.is_set():
            shared[f"new{number}"] = [number]
            shared.pop(f"new{number - 500}", None)
            number += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(30):
            assert isinstance(strict(encoder.json(freeze(shared))), dict)
    finally:
        stop.set()
        thread.join()


def test_ctrl_c_is_not_swallowed(monkeypatch):
    def interrupted(_obj):
        raise KeyboardInterrupt

    monkeypatch.setattr(payload_snapshots, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        freeze({"a": {1, 2}})  # not plain: it takes the path that can run code


def test_names_and_texts():
    assert encoder.name("search") == "search"
    assert encoder.name("a\ud800") == "a\\ud800"
    assert encoder.name("x" * 5000) == "x" * 1024 + "... (5000 characters)"
    assert encoder.name(None) == "<NoneType>"
    assert encoder.text(Text("password=hunter2")) == f"password={REDACTED}"
    assert Encoder(Limits(max_string=5)).text("0123456789") == "01234... (10 characters)"


# --- any value at all --------------------------------------------------------------------------------------------

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**700), max_value=10**700)
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["$relay", "$$relay", "\ud800", "\x00", "password", "a\udcffb"])
    | st.binary()
    | st.datetimes()
    | st.uuids()
    | st.decimals()
    | st.complex_numbers()
    | st.timedeltas()
    | st.builds(object)
    | st.builds(ValueError, st.text())
    | st.builds(bytearray, st.binary())
)
KEYS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.tuples(st.integers(), st.text()) | st.sampled_from(["$relay", "\ud800", "1", "null"]) | st.dates() | st.builds(object)  # fmt: skip
TREES = st.recursive(
    ATOMS,
    lambda child: (
        st.lists(child, max_size=4)
        | st.dictionaries(KEYS, child, max_size=4)
        | st.tuples(child, child)
        | st.builds(collections.deque, st.lists(child, max_size=3))
        | st.builds(Point, st.integers(), child)
        | st.builds(lambda v: Frozen(freeze(v)), child)
        | st.frozensets(st.integers() | st.text(), max_size=3)
    ),
    max_leaves=20,
)
LIMITS = st.sampled_from(
    [Limits(), Limits(max_depth=2, max_items=2, max_string=5, max_bytes=300), Limits(max_bytes=40)]
)


@settings(max_examples=400, deadline=None)
@given(TREES, LIMITS)
def test_the_output_always_parses_and_is_bounded(value, limits):
    made = Encoder(limits)
    tree = tree_of(value, made)
    assert made.json(freeze(value, limits)) == made.json(made.freeze(value))
    again = made.tree(made.freeze(tree), markers=True)
    if limits == DEFAULT_LIMITS:
        assert again == tree


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda child: (
        st.lists(child, max_size=4) | st.dictionaries(st.text().filter(lambda k: "relay" not in k), child, max_size=4)
    ),
)


@settings(max_examples=300, deadline=None)
@given(PLAIN)
def test_plain_json_is_unchanged(value):
    assert tree_of(value, Encoder(redaction=Redactor(enabled=False))) == value


@settings(max_examples=400, deadline=None)
@given(
    TREES
    | st.dictionaries(st.text(), TREES, max_size=5)
    | st.dictionaries(st.text(), st.lists(ATOMS | st.integers(), max_size=5), max_size=2)
    | st.dictionaries(st.text(), st.text(min_size=1_020, max_size=1_030), max_size=2)
)
def test_only_what_is_plain_and_short_to_its_last_value_is_packed_without_a_bound(value):
    with unittest.mock.patch.object(payload_snapshots, "_pack", wraps=payload_snapshots._pack) as packed:
        freeze(value)
    for (unbounded,), _ in packed.call_args_list:
        below, atoms = [unbounded], []
        while below:
            one = below.pop()
            if type(one) in (dict, list):
                assert len(one) <= 8
                below += one.values() if type(one) is dict else one
            else:
                atoms.append(one)
        assert {type(atom) for atom in atoms} <= {str, int, float, bool, type(None)}
        assert max((len(atom) for atom in atoms if type(atom) is str), default=0) <= 1_024


@given(st.dictionaries(KEYS | st.just(b"$relay"), st.integers(-(2**63), 2**64 - 1), max_size=12))
@example({b"$relay": 0, "$relay": 1, b"$$relay": 2, "x": 3})
def test_no_entry_is_lost(value):
    found = tree_of(value, Encoder(redaction=Redactor(enabled=False)))
    found.pop("$relay", None)
    assert sorted(found.values()) == sorted(value.values())
