"""Hub: `owner/name` on Hugging Face's Hub -> a local folder with the few files that importing reads.

The one place of this package that uses the network, and only when a user names a hub id. `huggingface_hub` does the
work: downloads resume, land in its cache (HF_HOME), and honour HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE.
"""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tohum.errors import CheckpointError, ConfigError

# owner/name, owner/name@revision, owner/name/file.gguf
HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:/(?P<file>[\w./-]+\.gguf))?(?:@(?P<revision>[\w./-]+))?")
NEEDED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
          "special_tokens_map.json", "tokenizer.model", "vocab.json", "merges.txt", "model.safetensors.index.json")
WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
PICKLES = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json")


def is_hub_id(text: str) -> bool:
    """Whether a text looks like a name on the Hub; existing files and folders go before it."""
    return HUB_ID.fullmatch(text) is not None and not text.startswith((".", "/"))


def fetch(source: str) -> Path:
    """Download what is needed of a model; answers its folder, or the one .gguf file that was named.

    Raises ConfigError for a model that does not exist, wants a token or cannot be reached; CheckpointError for one
    without weights.
    """
    found = HUB_ID.fullmatch(source)
    assert found is not None
    repo, file, revision = found["repo"], found["file"], found["revision"]
    import huggingface_hub
    from huggingface_hub import constants, errors

    try:
        if file:
            return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision))
        if constants.HF_HUB_OFFLINE:
            return cached(repo, revision)
        info = huggingface_hub.HfApi().model_info(repo, revision=revision)
        files = needed(repo, (sibling.rfilename for sibling in info.siblings or []))
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=files))
    except errors.GatedRepoError:
        raise ConfigError(f"{repo}: its owner asks for consent: accept the terms on its page on the Hub, then set "
                          "HF_TOKEN to a token of yours") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise ConfigError(f"{repo}: not in the local cache, and HF_HUB_OFFLINE forbids asking the Hub") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise ConfigError(f"{source}: not found on the Hub ({reason(error)})\nlook at the name; a private model needs "
                          "HF_TOKEN") from None
    except Exception as error:  # the library's own, those of its HTTP client, the system's
        raise ConfigError(f"{repo}: the Hub cannot be reached or understood ({reason(error)})\n"
                          "run the same command again: it goes "
                          "on where it stopped") from None


def cached(repo: str, revision: str | None) -> Path:
    """The folder of an earlier download; the client holds what it asks for against the list of all files."""
    import huggingface_hub
    from huggingface_hub import errors

    for weights in (("model.safetensors", "model-*-of-*.safetensors"), ("pytorch_model*.bin*",)):
        with contextlib.suppress(errors.LocalEntryNotFoundError):
            return Path(huggingface_hub.snapshot_download(repo, revision=revision, local_files_only=True,
                                                          allow_patterns=[*NEEDED, *weights]))
    raise errors.LocalEntryNotFoundError(repo)


def needed(repo: str, files: Iterable[str]) -> list[str]:
    """The files to fetch: safetensors, else pickles (which are opened without running code). Raises CheckpointError."""
    names = set(files)
    weights = [name for name in names if WEIGHTS.fullmatch(name)] or [name for name in names if PICKLES.fullmatch(name)]
    if not weights:
        gguf = sorted(name for name in names if name.endswith(".gguf"))
        hint = f"; it has GGUF files: name one, as in {repo}/{gguf[0]}" if gguf else ""
        raise CheckpointError(f"{repo}: holds no model.safetensors and no pytorch_model.bin{hint}")
    return sorted([*weights, *(name for name in NEEDED if name in names)])


def reason(error: Any) -> str:
    """The first line of what a library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
