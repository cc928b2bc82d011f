"""A GGUF file and its chat template -> the Modelfile with which Ollama serves it.

Ollama's templates are programs in Go; ours are in Jinja. A template of the usual kind puts fixed text around each
message, so the fixed pieces are found by rendering a conversation of marked messages, and written in Go's form. A
template of another kind is noticed by rendering two turns; Ollama then looks for one of its own that is like it.
"""

from tohum.errors import DataError
from tohum.tokenizing.template import ChatTemplate

SYSTEM, USER, ANSWER, AGAIN = "\ue000S\ue001", "\ue000U\ue001", "\ue000A\ue001", "\ue000V\ue001"
CONTINUE = "{{ .Prompt }}"


def modelfile(file_name: str, template: ChatTemplate | None, context: int) -> str:
    """The Modelfile's text; a model without a template continues what it is given."""
    pieces = pieces_of(template) if template is not None else None
    lines = [f"FROM ./{file_name}", f"PARAMETER num_ctx {context}"]
    if template is None:
        return "\n".join([*lines, f'TEMPLATE """{CONTINUE}"""']) + "\n"
    if pieces is None:  # Ollama knows the templates of published models by what is inside the file
        return "\n".join(lines) + "\n"
    before_system, after_system, before_user, after_user, end = pieces
    go = ("{{ if .System }}" + before_system + "{{ .System }}" + after_system + "{{ end }}{{ if .Prompt }}"
          + before_user + "{{ .Prompt }}" + after_user + "{{ end }}{{ .Response }}" + end)
    stop = [f'PARAMETER stop "{end.strip()}"'] if end.strip() and '"' not in end else []
    return "\n".join([*lines, *stop, f'TEMPLATE """{go}"""']) + "\n"


def pieces_of(template: ChatTemplate) -> tuple[str, str, str, str, str] | None:
    """Fixed text before and after system and user messages, and after answers; None for another kind of template."""
    system = {"role": "system", "content": SYSTEM}
    user, answer = {"role": "user", "content": USER}, {"role": "assistant", "content": ANSWER}
    again = {"role": "user", "content": AGAIN}
    try:
        asked = template.render([system, user], add_generation_prompt=True)
        ended = template.render([system, user])
        told = template.render([system, user, answer, again], add_generation_prompt=True)
    except DataError:
        return None
    before_system, _, rest = asked.partition(SYSTEM)
    middle, _, after_user = rest.partition(USER)
    end = ended.partition(USER)[2]  # of a message
    last = told.removeprefix(asked + ANSWER).partition(AGAIN)[2]
    before_user = middle.removeprefix(end)
    usual = told == asked + ANSWER + end + before_user + AGAIN + last and middle == end + before_user
    if not usual or last != after_user or not end or not before_user or '"""' in asked:
        return None
    return before_system, end, before_user, after_user, end
