"""A kind is a word of a table or ``module:Class``; whatever is wrong with one is said, and options are never shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import BaseModel

from json2vec.storage.kinds import KindError, KindOptionError, Kinds, lacking, load_class


class Animal(Protocol):
    legs: int

    def speak(self, text: str, *, loud: bool = False) -> str: ...


@dataclass
class Dog:
    name: str
    legs: int = 4

    def speak(self, text: str, *, loud: bool = False) -> str:
        return f"{self.name}: {text}"


ANIMALS = """
from dataclasses import dataclass

class Cat:
    legs = 4
    def __init__(self, name, *, colour="grey"): self.name = name
    def speak(self, text, *, loud=False): return "miaow"

class Herd(Cat):
    def __init__(self, **options): self.options = options

class Stone: ...

class Whisperer(Cat):
    def speak(self, text): return text

class Snake(Cat):
    legs = None
    def __init__(self): del self.legs
    def __delattr__(self, name): ...
    def __getattribute__(self, name):
        if name == "legs": raise AttributeError(name)
        return object.__getattribute__(self, name)

def a_function(): ...

class Outer:
    class Inner(Cat): ...
"""


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kinds:
    (tmp_path / "farm.py").write_text(ANIMALS)
    (tmp_path / "broken_farm.py").write_text("import no_such_thing\n")
    (tmp_path / "bad_farm.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Kinds("animal", Animal, {"dog": f"{__name__}:Dog"})


def test_a_word_of_the_table_names_a_class(kinds: Kinds) -> None:
    made = kinds.build("dog", {"name": "Rex"})
    assert made.speak("hello") == "Rex: hello"


def test_a_class_of_any_module_is_named_by_its_place(kinds: Kinds) -> None:
    made = kinds.build("farm:Cat", {"name": "Tom", "colour": "red"})
    assert (type(made).__module__, made.name) == ("farm", "Tom")
    assert kinds.load("farm:Outer.Inner").__qualname__ == "Outer.Inner"


def test_a_class_that_takes_any_option_gets_any_option(kinds: Kinds) -> None:
    assert kinds.build("farm:Herd", {"size": 7}).options == {"size": 7}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("dgo", r"animal 'dgo' is not known \(did you mean 'dog'\?\): expected kind: dog, or kind: module:Class"),
        (None, "animal None is not known"),
        (["dog"], r"animal \['dog'\] is not known"),
        ("farm:", "expected module:Class"),
        (":Cat", "expected module:Class"),
        ("farm:Cat()", "expected module:Class"),
        ("framework.farm:Cat", "there is no module 'framework' here. Remedy: .*PYTHONPATH"),
        ("farm.cats:Cat", "there is no module 'farm.cats' here|'farm' is not a package"),
        ("broken_farm:Cat", "module 'broken_farm' needs 'no_such_thing', which is not here"),
        ("bad_farm:Cat", "module 'bad_farm' cannot be imported: ZeroDivisionError"),
        ("farm:Cta", r"module 'farm' \(.*farm\.py\) has no 'Cta' \(did you mean 'Cat'\?\)"),
        ("farm:a_function", "'a_function' of module 'farm' is a function; expected a class"),
        ("farm:Stone", "'farm:Stone' is no animal: it has no method speak. Remedy: .*Animal has"),
    ],
)
def test_a_kind_that_is_none_says_what_is_wrong_with_it(kinds: Kinds, kind: Any, message: str) -> None:
    with pytest.raises(KindError, match=message) as caught:
        kinds.build(kind, {"name": "secret"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("dog", {"name": "secret", "leg": 3}, r"Dog\) has no option 'leg' \(did you mean 'legs'\?\); it takes name, "),
        ("farm:Cat", {"nmae": "secret"}, r"farm\.Cat\) has no option 'nmae' .*'name'.*; it takes name, colour"),
        ("farm:Cat", {"colour": "secret"}, r"farm\.Cat\) needs 'name'; it takes name, colour"),
        ("farm:Cat", {1: "secret"}, "has no option 1; it takes name, colour"),
        ("farm:Herd", {1: "secret"}, "has no option 1"),
        ("farm:Snake", {"name": "secret"}, "has no option 'name'; it takes no options"),
    ],
)
def test_options_are_compared_with_the_signature(
    kinds: Kinds, kind: str, options: dict[Any, Any], message: str
) -> None:
    with pytest.raises(KindOptionError, match=message) as caught:
        kinds.build(kind, options)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_what_the_class_itself_says_passes_through(kinds: Kinds) -> None:
    with pytest.raises(ValueError, match="absurd"):
        Kinds("animal", Animal, {"x": f"{__name__}:Absurd"}).build("x", {})


class Absurd(Dog):
    def __init__(self) -> None:
        raise ValueError("absurd")


def test_a_method_with_other_parameters_and_a_missing_attribute_are_named(kinds: Kinds) -> None:
    with pytest.raises(KindError, match=r"speak cannot be called as speak\(text, loud=\.\.\.\): .*'loud'"):
        kinds.build("farm:Whisperer", {"name": "x"})
    with pytest.raises(KindError, match="'farm:Snake' is no animal: it has no attribute legs"):
        kinds.build("farm:Snake", {})


def test_an_instance_is_looked_at_too(kinds: Kinds) -> None:
    dog = Dog("Rex")
    assert kinds.check(dog) is dog
    with pytest.raises(KindError, match="animal int is no animal: it has no method speak; it has no attribute legs"):
        kinds.check(3)


def test_an_instance_that_passes_everything_on_lacks_nothing() -> None:
    class Delegate:
        def __getattr__(self, name: str) -> Any:
            return getattr(Dog("Rex"), name)

    assert lacking(Delegate(), Animal) == []


def test_a_class_is_loaded_by_its_place(kinds: Kinds) -> None:
    assert load_class("pathlib:Path", "folder") is Path


class Kennel(BaseModel):
    token: int
    legs: int = 4

    def speak(self, text: str, *, loud: bool = False) -> str:
        return text


def test_values_that_a_class_refuses_are_not_shown() -> None:
    kinds = Kinds("animal", Animal, {})
    with pytest.raises(KindError, match="token: Input should be a valid integer") as raised:
        kinds.build(f"{__name__}:Kennel" if ":" not in __name__ else "", {"token": "s3cr3t"})
    assert "s3cr3t" not in str(raised.value)
    assert raised.value.__cause__ is None
