#!/usr/bin/env python3
"""Makes the small tokenizers of this folder with the Python package `tokenizers`, trained on this
repository's own documents. They are for unit tests and fuzzing; run it from the root of the
repository when their form is to change (the documents change, so the ids do as well).
"""
import glob
import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FILES = sorted(glob.glob("docs/*.md"))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def write(name, tokenizer):
    data = json.loads(tokenizer.to_str())
    with open(f"tests/data/tokenizers/{name}.json", "w", encoding="utf-8") as out:
        out.write(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


def byte_level():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train(FILES, trainers.BpeTrainer(vocab_size=900, show_progress=False,
                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens(["<|begin|>", "<|im_start|>", "<|im_end|>", "<|end|>"])
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<pad>", lstrip=True, normalized=False),
                  AddedToken("<mask>", rstrip=True, single_word=True, normalized=False)])
    begin = t.token_to_id("<|begin|>")
    t.post_processor = processors.TemplateProcessing("<|begin|> $A", "<|begin|> $A $B", [("<|begin|>", begin)])
    write("byte_level", t)


def metaspace():
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train(FILES, trainers.BpeTrainer(
        vocab_size=700, show_progress=False, limit_alphabet=70,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]))
    model = json.loads(trained.to_str())["model"]
    t.model = models.BPE(vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]], byte_fallback=True,
                         fuse_unk=True, unk_token="<unk>")
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    t.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B", [("<s>", 1), ("</s>", 2)])
    write("metaspace", t)


byte_level()
metaspace()
