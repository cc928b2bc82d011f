"""documents: the corpora that Python itself carries."""

import subprocess
import sys

import pytest

from tohum.documents.python_library import PythonDocs, PythonSource, entries, library_files


@pytest.fixture(scope="module")
def docs() -> list:
    return list(PythonDocs().documents())


def test_python_docs_is_about_two_megabytes_of_topics_and_modules(docs):
    size = sum(len(document.text.encode()) for document in docs)
    assert 1_500_000 < size < 5_000_000
    assert docs[0].place.startswith("topic ")
    modules = {document.place for document in docs}
    assert {"json.decoder", "argparse", "posixpath", "topic assert"} <= modules


def test_python_docs_holds_every_document_once_and_in_the_same_order(docs):
    assert len({document.text for document in docs}) == len(docs)
    assert list(PythonDocs().documents()) == docs
    assert PythonDocs().sha256() == PythonDocs().sha256()
    assert not [document for document in docs if "test" in document.place.split(".")]


def test_python_docs_is_read_without_importing_the_modules(docs):
    assert any(document.place == "turtle" for document in docs)
    code = ("import sys; from tohum.documents.python_library import PythonDocs; list(PythonDocs().documents()); "
            "print({'turtle', 'pydoc_data.topics', 'antigravity'} & set(sys.modules))")
    # In a process of its own: other tests of this one may have imported anything.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_entries_carry_signature_and_docstring_in_source_order():
    join = next(entry for entry in entries() if (entry.module, entry.name) == ("posixpath", "join"))
    assert join.signature == "join(a, *p)"
    assert join.docstring.startswith("Join two or more pathname components")
    decoder = [entry.name for entry in entries() if entry.module == "json.decoder"]
    assert decoder.index("JSONDecoder") < decoder.index("JSONDecoder.decode")


def test_python_source_is_about_twelve_megabytes_without_tests():
    source = PythonSource()
    documents = list(source.documents())
    size = sum(len(document.text.encode()) for document in documents)
    assert 8_000_000 < size < 20_000_000
    assert abs(size - source.bytes) < size // 10
    assert len(documents) > 500
    assert not [path for path in library_files() if "test" in path.parts or "site-packages" in path.parts]
