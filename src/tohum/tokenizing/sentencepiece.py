"""SentencePiece models and llama2.c's tokenizer file -> the same pieces in our engine, with the same ids."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, processors
from tokenizers import Tokenizer as Engine

from tohum.errors import ConfigError, DataError
from tohum.tokenizing.alphabet import METASPACE
from tohum.tokenizing.tokenizer import Special, Tokenizer

LLAMA2C_SPECIALS = ("<unk>", "<s>", "</s>")
LONGEST_PIECE_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """A vocabulary in the order of its ids."""

    texts: Sequence[str]
    scores: Sequence[float]
    special: Special
    unigram: bool = False
    dummy_prefix: bool = True  # a space before the text


def load_sentencepiece(path: Path) -> Tokenizer:
    """A SentencePiece .model of type BPE or Unigram with byte fallback. Raises DataError, ConfigError."""
    try:
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        raise ConfigError(f'{path}: reading a SentencePiece model needs: pip install "tohum[spm]"') from None
    proto: Any = sentencepiece_model_pb2  # its classes are made at run time
    model = proto.ModelProto()
    model.ParseFromString(path.read_bytes())
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model.SerializeToString())
    spec, trainer = model.normalizer_spec, model.trainer_spec
    refused = {"it rewrites characters before cutting": bool(spec.precompiled_charsmap) and spec.name != "identity",
               "it removes extra spaces": spec.remove_extra_whitespaces,
               "it has user-defined symbols": bool(trainer.user_defined_symbols),
               "it is neither BPE nor Unigram": trainer.model_type not in (proto.TrainerSpec.UNIGRAM,
                                                                           proto.TrainerSpec.BPE)}
    if reasons := [reason for reason, holds in refused.items() if holds]:
        raise DataError(f"{path}: {reasons[0]}, which is not supported\nuse the tokenizer.json of the same model")
    roles = {"bos": processor.bos_id(), "eos": processor.eos_id(), "pad": processor.pad_id(),
             "unk": processor.unk_id()}
    special = Special(**{role: model.pieces[i].piece for role, i in roles.items() if i >= 0})
    return convert(Pieces(texts=[piece.piece for piece in model.pieces], special=special,
                          scores=[piece.score for piece in model.pieces], dummy_prefix=spec.add_dummy_prefix,
                          unigram=model.trainer_spec.model_type == proto.TrainerSpec.UNIGRAM))


def load_llama2c(path: Path) -> Tokenizer:
    """karpathy/llama2.c: longest length, then score, length and bytes of each piece (little-endian)."""
    data = path.read_bytes()
    texts, scores, at = [], [], 4
    while at < len(data):
        if at + 8 > len(data):
            raise DataError(f"{path}: ends inside the head of piece {len(texts)}")
        score, length = struct.unpack_from("<fi", data, at)
        if not 0 < length <= LONGEST_PIECE_BYTES or at + 8 + length > len(data):
            raise DataError(f"{path}: piece {len(texts)} claims {length:,} bytes; {len(data) - at - 8:,} are left")
        texts.append(data[at + 8 : at + 8 + length].decode("utf-8", errors="replace"))
        scores.append(score)
        at += 8 + length
    if len(texts) < 259:
        raise DataError(f"{path}: {len(texts)} pieces; at least the 256 bytes and 3 special tokens are expected")
    texts = [*LLAMA2C_SPECIALS, *(text.replace(" ", METASPACE) for text in texts[3:])]
    unk, bos, eos = LLAMA2C_SPECIALS
    return convert(Pieces(texts=texts, scores=scores, special=Special(unk=unk, bos=bos, eos=eos)))


def convert(pieces: Pieces) -> Tokenizer:
    """Pieces with scores -> an engine that joins them in the same order."""
    ids = {text: i for i, text in enumerate(pieces.texts)}
    if len(ids) != len(pieces.texts):
        raise DataError("a piece stands twice in the vocabulary")
    special = pieces.special
    if pieces.unigram:
        model = models.Unigram(list(zip(pieces.texts, pieces.scores, strict=True)),
                               unk_id=ids.get(special.unk or ""), byte_fallback=True)
    else:
        model = models.BPE(vocab=ids, merges=merges_by_score(ids, pieces.scores), unk_token=special.unk,
                           fuse_unk=True, byte_fallback=True)
    engine = Engine(model)
    prepend = [normalizers.Prepend(METASPACE)] if pieces.dummy_prefix else []
    engine.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", METASPACE)])
    strip = [decoders.Strip(" ", 1, 0)] if pieces.dummy_prefix else []
    engine.decoder = decoders.Sequence([decoders.Replace(METASPACE, " "), decoders.ByteFallback(), decoders.Fuse(),
                                        *strip])
    names = [name for name in (special.unk, special.bos, special.eos, special.pad) if name is not None]
    engine.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in dict.fromkeys(names)])
    if special.bos is not None:
        engine.post_processor = processors.TemplateProcessing(
            single=f"{special.bos} $A", special_tokens=[(special.bos, ids[special.bos])])
    return Tokenizer(engine, kind="unigram" if pieces.unigram else "bpe", special=special)


def merges_by_score(ids: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """SentencePiece joins the two neighbours whose joint piece has the best score; so the best come first."""
    found = []
    for piece, i in ids.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                found.append((-scores[i], ids[left], ids[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]
