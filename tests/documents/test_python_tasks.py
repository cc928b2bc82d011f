"""documents: the labelled set and the instruction set of the standard library."""

import re
from collections import Counter

from tohum.documents.python_tasks import MASK, instruction_docs, labelled_docs, opening, without_self


def test_labelled_docs_name_eight_packages_that_cannot_be_read_in_the_text():
    found = labelled_docs()
    sizes = Counter(label for _, label in found)
    print(f"labelled: {len(found):,} rows, {dict(sizes)}")
    assert len(found) >= 1000
    assert len(sizes) == 8
    assert min(sizes.values()) >= 50
    assert len({text for text, _ in found}) == len(found)
    names = re.compile("|".join(label for label in sizes if len(label) > 3), re.IGNORECASE)
    assert not [text for text, _ in found if names.search(text)]
    assert any(MASK in text for text, _ in found)
    assert max(len(text) for text, _ in found) <= 600
    assert labelled_docs() == found


def test_instruction_docs_ask_what_how_and_where_and_each_question_once():
    found = instruction_docs()
    print(f"instructions: {len(found):,} rows")
    assert len(found) >= 1000
    assert len({instruction for instruction, _ in found}) == len(found)
    join = {instruction: output for instruction, output in found if "`os.path.join`" in instruction}
    assert sorted(join.values())[0] == "`join(a, *p)`"
    assert sorted(join.values())[1].startswith("`join(a, *p)`\n\nJoin two or more pathname components")
    assert "`OrderedDict` is in the module `collections`." in {output for _, output in found}
    starts = Counter(instruction.split("`")[0] for instruction, _ in found)
    assert min(starts[kind] for kind in ("What does ", "Explain ", "Which arguments does ", "In which module is ")) >= 50
    assert not [i for i, _ in found if "._" in i or "`_" in i]
    assert instruction_docs() == found


def test_opening_ends_with_a_paragraph_or_a_word():
    assert opening("One.\n\nTwo.", 100) == "One.\n\nTwo."
    assert opening("One one.\n\nTwo.\n\nThree three three.", 20) == "One one.\n\nTwo."
    assert opening("one two three four", 10) == "one two"
    assert [without_self(call) for call in ("f(self, a)", "f(self)", "f(cls, /, b)", "f(selfish)", "C")] == ["f(a)", "f()", "f(b)", "f(selfish)", "C"]
