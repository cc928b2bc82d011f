"""Files of instructions: every usual form is recognised, and what is wrong is named with file, line and key."""

import csv
import json

import pytest

from tohum.errors import DataError
from tohum.instruction.conversations import read_conversations

USER, ASSISTANT = {"role": "user", "content": "Tohum nedir?"}, {"role": "assistant", "content": "Bekleyen bir bitki."}
ONE = ({"role": "user", "content": "Tohum nedir?"}, {"role": "assistant", "content": "Bekleyen bir bitki."})
SHARED = [{"from": "human", "value": "Tohum nedir?"}, {"from": "gpt", "value": "Bekleyen bir bitki."}]
FORMS = {
    "Alpaca": {"instruction": "Tohum nedir?", "input": "", "output": "Bekleyen bir bitki."},
    "Alpaca (Turkish keys)": {"talimat": "Tohum nedir?", " giriş": "", " çıktı": "Bekleyen bir bitki."},
    "messages": {"messages": [USER, ASSISTANT]},
    "ShareGPT": {"id": "7", "conversations": SHARED},
    "prompt and completion": {"prompt": "Tohum nedir?", "completion": "Bekleyen bir bitki."},
    "question and answer": {"question": "Tohum nedir?", "answer": "Bekleyen bir bitki."},
    "question and answer (Turkish keys)": {"soru": "Tohum nedir?", "cevap": "Bekleyen bir bitki."},
}


def jsonl(folder, *rows):
    path = folder / "talk.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def write_parquet(path, rows):
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_conversation_from_a_file_of_one_row(tmp_path, form):
    found = read_conversations(jsonl(tmp_path, FORMS[form]))
    assert [conversation.messages for conversation in found.conversations] == [ONE]
    assert found.conversations[0].place == f"{tmp_path / 'talk.jsonl'}:1"
    assert found.form == form
    assert found.described.startswith(f"{tmp_path / 'talk.jsonl'}: {form}, read from ")
    assert found.described.endswith("1 rows" + ("; not used: id" if form == "ShareGPT" else ""))


def test_lists_csv_and_parquet_hold_the_same(tmp_path):
    rows = [FORMS["Alpaca"] | {"input": "two\nlines, and a comma"}, FORMS["Alpaca"]]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2), "utf-8")
    with open(tmp_path / "a.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    write_parquet(tmp_path / "a.parquet", rows)
    wanted = [found.messages for found in read_conversations(jsonl(tmp_path, *rows)).conversations]
    for name, lines in (("a.json", [2, 7]), ("a.csv", [3, 4]), ("a.parquet", [1, 2])):
        found = read_conversations(tmp_path / name).conversations
        assert [conversation.messages for conversation in found] == wanted
        assert [conversation.place for conversation in found] == [f"{tmp_path / name}:{line}" for line in lines]
    assert wanted[0][0] == {"role": "user", "content": "Tohum nedir?\n\ntwo\nlines, and a comma",
                            "instruction": "Tohum nedir?", "input": "two\nlines, and a comma"}


def test_parquet_keeps_lists_of_turns(tmp_path):
    write_parquet(tmp_path / "m.parquet", [FORMS["messages"], FORMS["messages"]])
    assert [c.messages for c in read_conversations(tmp_path / "m.parquet").conversations] == [ONE, ONE]


def test_windows_line_ends_become_those_of_unix_inside_texts_and_between_rows(tmp_path):
    path = tmp_path / "w.jsonl"
    row = json.dumps({"prompt": "Bir\r\niki?", "completion": "Üç\r\n"}, ensure_ascii=False)
    path.write_bytes(b"\xef\xbb\xbf" + f"{row}\r\n{row}\r\n".encode())
    found = read_conversations(path).conversations
    assert [message["content"] for message in found[1].messages] == ["Bir\niki?", "Üç\n"]
    assert found[1].place.endswith(":2")


def test_items_on_one_line_of_a_json_list_are_told_apart(tmp_path):
    path = tmp_path / "line.json"
    path.write_text(json.dumps([FORMS["Alpaca"], FORMS["Alpaca"] | {"output": ""}]), "utf-8")
    with pytest.raises(DataError, match=r"line.json:1 \(item 2\): 'output' is empty"):
        read_conversations(path)


def test_system_history_and_lists_of_turns_come_before_the_answer(tmp_path):
    path = jsonl(tmp_path, {"system": "Be brief.", "history": [["a?", "b."]], "instruction": "c?", "output": "d."})
    assert [(m["role"], m["content"]) for m in read_conversations(path).conversations[0].messages] == [
        ("system", "Be brief."), ("user", "a?"), ("assistant", "b."), ("user", "c?"), ("assistant", "d.")]
    path = jsonl(tmp_path, {"prompt": [USER], "completion": [ASSISTANT]})
    assert read_conversations(path).conversations[0].messages == ONE


def test_calls_of_functions_become_those_of_templates(tmp_path):
    turns = [SHARED[0], {"from": "function_call", "value": '{"name": "look_up", "arguments": {"word": "tohum"}}'},
             {"from": "observation", "value": '{"found": 1}'}, SHARED[1]]
    tools = '[{"name": "look_up", "parameters": {}}]'
    found = read_conversations(jsonl(tmp_path, {"conversations": turns, "tools": tools}))
    assert found.conversations[0].messages[1] == {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {"name": "look_up", "arguments": {"word": "tohum"}}}]}
    assert found.conversations[0].messages[2] == {"role": "tool", "content": '{"found": 1}'}
    assert found.conversations[0].tools == (
        {"type": "function", "function": {"name": "look_up", "parameters": {}}},)
    assert "not used" not in found.described
    openai = [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {
        "name": "look_up", "arguments": '{"word": "tohum"}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "1"}]}, ASSISTANT]
    messages = read_conversations(jsonl(tmp_path, {"messages": openai})).conversations[0].messages
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == {"word": "tohum"}
    assert messages[2] == {"role": "tool", "content": "1", "tool_call_id": "c1"}


@pytest.mark.parametrize(("row", "message"), [
    ({"messages": [USER]}, r"talk.jsonl:2: 'messages' has no assistant turn \(user\); nothing could be learned"),
    ({"messages": [USER, ASSISTANT, USER]}, "talk.jsonl:2: 'messages' ends with a turn of the user; expected the assistant"),
    ({"messages": [USER, ASSISTANT | {"content": " \n"}]}, "talk.jsonl:2: 'messages', turn 2: the assistant's answer is empty"),
    ({"messages": [USER, {"role": "asistan", "content": "x"}]}, """'messages', turn 2: role is "asistan"; known roles are"""),
    ({"messages": [USER, {"content": "x"}]}, "'messages', turn 2: no key 'role' among content"),
    ({"messages": [USER, ASSISTANT | {"content": 7}]}, "'messages', turn 2: content is a number; expected a text"),
    ({"messages": [USER, ASSISTANT | {"content": [{"type": "image_url"}]}]}, "a part of the type image_url; only texts"),
    ({"messages": "hello"}, "talk.jsonl:2: 'messages' is a string; expected a list of turns"),
    ({"messages": []}, r"talk.jsonl:2: 'messages' has no assistant turn \(no turns\)"),
    ({"text": "x"}, "talk.jsonl:2: no key 'messages'; the keys that are there: text"),
    (["x"], "talk.jsonl:2: a JSON list; expected an object"),
])
def test_a_bad_row_is_named_with_its_line_and_key(tmp_path, row, message):
    with pytest.raises(DataError, match=message) as caught:
        read_conversations(jsonl(tmp_path, FORMS["messages"], row))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("row", "message"), [
    ({"instruction": "a", "output": "  "}, "talk.jsonl:2: 'output' is empty; remove the row or fill it"),
    ({"instruction": "", "output": "b"}, "talk.jsonl:2: 'instruction' is empty"),
    ({"instruction": 3, "output": "b"}, "talk.jsonl:2: 'instruction' is a number; expected a text"),
    ({"instruction": "a"}, "talk.jsonl:2: no key 'output'; the keys that are there: instruction"),
])
def test_a_bad_field_is_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_conversations(jsonl(tmp_path, FORMS["Alpaca"], row))


def test_all_bad_rows_are_told_at_once(tmp_path):
    good, bad = FORMS["messages"], {"messages": [USER]}
    with pytest.raises(DataError, match="2 more of 5 rows have problems: lines 3, 5") as caught:
        read_conversations(jsonl(tmp_path, good, bad, bad, good, bad))
    assert "talk.jsonl:2: " in str(caught.value)


def test_an_unknown_form_lists_the_keys_seen_and_the_forms_known(tmp_path):
    with pytest.raises(DataError, match="the keys are text, label\nexpected instruction, input, output"):
        read_conversations(jsonl(tmp_path, {"text": "a", "label": "b"}))
    with pytest.raises(DataError, match="'question' is there, but no answer: the keys are question, id"):
        read_conversations(jsonl(tmp_path, {"question": "a", "id": "b"}))
    with pytest.raises(DataError, match="finetune prefer"):
        read_conversations(jsonl(tmp_path, {"prompt": "a", "chosen": "b", "rejected": "c"}))


@pytest.mark.parametrize(("name", "content", "message"), [
    ("gone.jsonl", None, "no such file"), ("empty.jsonl", "", "no rows; expected one conversation a row"),
    ("talk.docx", "x", "expected a name that ends in .jsonl"), ("bad.jsonl", "{'a': 1}\n", "bad.jsonl:1: not valid JSON"),
    ("table.csv", "instruction,output\na\n", "table.csv:2: 1 fields; the header has 2"),
])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_conversations(tmp_path / name)


@pytest.mark.parametrize(("name", "form", "rows", "turns"), [
    ("rasbt_instruction-data.json", "Alpaca", 1100, 2200), ("alpaca_en_demo.json", "Alpaca", 999, 1998),
    ("identity.json", "Alpaca", 91, 182), ("fastchat_dummy_conversation.json", "ShareGPT", 500, 2000),
    ("glaive_toolcall_en_demo.json", "ShareGPT", 300, 1914),
])
def test_published_files_are_read_whole(shared_data, name, form, rows, turns):
    found = read_conversations(shared_data / "instruct" / name)
    assert (found.form, len(found.conversations)) == (form, rows)
    assert sum(len(conversation.messages) for conversation in found.conversations) == turns
    assert found.conversations[0].place == f"{shared_data / 'instruct' / name}:2"


@pytest.mark.parametrize("name", ["self_instruct_seed_tasks.jsonl", "tquad_train_tr.json"])
def test_published_files_of_other_forms_are_refused(shared_data, name):
    with pytest.raises(DataError, match=f"{name}: .*(the keys are|one JSON object)"):
        read_conversations(shared_data / "instruct" / name)
