"""Follow a pickle without running it: a stack of plain values and inert stand-ins, and nothing else.

The standard library's unpickler looks up names and calls them, even where `find_class` is guarded it sets attributes
on what it was given. Here each instruction that plain tensors need is spelled out; any other one is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from ligate.core.errors import InputError

from .pickle_words import Unlike, called, known_name, set_item, stored


def follow(program: bytes) -> Any:
    """The value that a pickle describes; InputError for one that names code or is damaged."""
    machine = _Machine()
    try:
        for instruction, argument, _ in pickletools.genops(program):
            if instruction.name == "STOP":
                return machine.stack.pop()
            if instruction.name not in _STEPS:
                raise InputError(f"it uses the pickle instruction {instruction.name}, which plain tensors do not need")
            _STEPS[instruction.name](machine, argument)
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise InputError(f"its description of the tensors is damaged: {error}") from None
    raise InputError("its description of the tensors has no end")


class _Machine:
    """`stack` is the part since the last mark; `below` the parts before."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items


_Step = Callable[[_Machine, Any], Any]


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _mark(machine: _Machine, _: Any) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _tuple_of(count: int) -> _Step:
    def step(machine: _Machine, _: Any) -> None:
        items = [machine.stack.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return step


def _get(machine: _Machine, index: Any) -> None:
    machine.stack.append(machine.memo[int(index)])


def _put(machine: _Machine, index: Any) -> None:
    machine.memo[int(index)] = machine.stack[-1]


def _memoize(machine: _Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _append(machine: _Machine, _: Any) -> None:
    item = machine.stack.pop()
    _list_on_top(machine).append(item)


def _appends(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    _list_on_top(machine).extend(items)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    set_item(_dict_on_top(machine), key, value)


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    table = _dict_on_top(machine)
    for key, value in zip(items[::2], items[1::2], strict=True):
        set_item(table, key, value)


def _new_dict(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.stack.append({})
    for key, value in zip(items[::2], items[1::2], strict=True):
        set_item(machine.stack[-1], key, value)


def _set_of_items(machine: _Machine, _: Any) -> None:
    machine.since_mark()
    machine.stack.append(Unlike("a set"))


def _add_items(machine: _Machine, _: Any) -> None:
    machine.since_mark()
    if not isinstance(machine.stack[-1], Unlike):
        raise ValueError("items are added to what is no set")


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(known_name(module, name))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(known_name(str(module), str(name)))


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(called(function, arguments))


def _build(machine: _Machine, _: Any) -> None:
    """A state dict carries the versions of its modules as an attribute; they say nothing about numbers."""
    machine.stack.pop()
    _dict_on_top(machine)


def _persistent(machine: _Machine, _: Any) -> None:
    machine.stack.append(stored(machine.stack.pop()))


def _list_on_top(machine: _Machine) -> list[Any]:
    if not isinstance(machine.stack[-1], list):
        raise ValueError("an item is appended to what is no list")
    return machine.stack[-1]


def _dict_on_top(machine: _Machine) -> dict[Any, Any]:
    if not isinstance(machine.stack[-1], dict):
        raise ValueError("an entry is put into what is no dictionary")
    return machine.stack[-1]


_PLAIN = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_STEPS: Mapping[str, _Step] = {
    **dict.fromkeys(_PLAIN, _push),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "MEMOIZE": _memoize,
    "NONE": lambda machine, _: _push(machine, None),
    "NEWTRUE": lambda machine, _: _push(machine, True),
    "NEWFALSE": lambda machine, _: _push(machine, False),
    "MARK": _mark,
    "POP": lambda machine, _: machine.stack.pop() if machine.stack else machine.since_mark(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: _push(machine, machine.stack[-1]),
    "EMPTY_TUPLE": _tuple_of(0),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": lambda machine, _: _push(machine, tuple(machine.since_mark())),
    "EMPTY_LIST": lambda machine, _: _push(machine, []),
    "LIST": lambda machine, _: _push(machine, machine.since_mark()),
    "APPEND": _append,
    "APPENDS": _appends,
    "EMPTY_DICT": lambda machine, _: _push(machine, {}),
    "DICT": _new_dict,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "EMPTY_SET": lambda machine, _: _push(machine, Unlike("a set")),
    "FROZENSET": _set_of_items,
    "ADDITEMS": _add_items,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
