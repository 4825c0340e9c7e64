"""Varied text for comparing tokenizers: many scripts, code, white space, emoji, look-alikes, noise.

`texts(seed, size, specials)` gives strings of about `size` bytes of UTF-8 together, the same for the
same arguments. `malformed(seed, count)` gives bytes that are not UTF-8.
"""
import json
import pathlib
import random
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parents[2]

SENTENCES = [
    "The scheduler keeps every engine's memory below its limit, and it doesn't guess.",
    "We'll see what they've done; I'M SURE IT'S FINE, isn't it? She'd said they're late.",
    "Der Bär läuft über die Straße, während es draußen heftig schneit.",
    "L’été dernier, nous avons goûté des crêpes à Besançon ; c’était délicieux !",
    "El niño comió piñas y se fue mañana por la mañana. ¿Qué pasó?",
    "Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Türkiye'nin İstanbul şehrinde ılık bir ışık vardı.",
    "Сегодня хорошая погода, и мы пойдём гулять в парк. Ёжик уже там.",
    "Привіт, як справи? Їжак з'їв яблуко.",
    "Η γρήγορη αλεπού πήδηξε πάνω από το τεμπέλικο σκυλί.",
    "今日はとても良い天気ですね。東京タワーへ行きましょう。カタカナ・テスト、ﾊﾝｶｸ。",
    "我们今天去公园散步，天气非常好。人工智能正在改变世界的方方面面。",
    "臺灣的繁體中文與標點符號：「你好」，『世界』！",
    "안녕하세요, 오늘 날씨가 정말 좋네요. 우리는 공원에 갑니다.",
    "مرحبا كيف حالك اليوم؟ الطقس جميل جدًا في الخارج ٣٤٥.",
    "שלום עולם, שָׁלוֹם לְכֻלָּם בעברית עם ניקוד.",
    "नमस्ते, आज मौसम बहुत अच्छा है। हम पार्क जाएंगे। क्षेत्रज्ञ १२३",
    "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি।",
    "தமிழ் மொழி மிகவும் பழமையானது. வணக்கம்!",
    "తెలుగు భాష చాలా అందంగా ఉంటుంది.",
    "สวัสดีครับ วันนี้อากาศดีมาก เราไปเดินเล่นกันเถอะ ๔๕๖",
    "ကျေးဇူးတင်ပါတယ်။ မင်္ဂလာပါ။",
    "ខ្ញុំស្រឡាញ់ភាសាខ្មែរ",
    "გამარჯობა, როგორ ხარ? Ծանոթացեք հայերենին։",
    "አማርኛ ጽሑፍ ነው። ሰላም!",
    "Tiếng Việt có rất nhiều dấu: ắ ằ ẳ ẵ ặ, ế ề ể ễ ệ.",
    "𝕳𝖊𝖑𝖑𝖔 𝓦𝓸𝓻𝓵𝓭 𝟙𝟚𝟛 ℌ ℵ ∑∫√∞ ≤≥≠ ½ ² ³ Ⅷ ⅷ ① ㊗ ﬁ ﬂ ﬀ ﬅ ﷺ ㍿ ｆｕｌｌｗｉｄｔｈ １２３",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷 1️⃣ ☕️ 🫠🫡 ❤️‍🔥 👨🏿‍🚀",
    "e\u0301 a\u0308 n\u0303 o\u0302\u0323 \u0315 q\u0307\u0323 Z\u0351\u036b\u0343a\u0334l\u0337g\u0336o\u0338",
]

CODE = [
    "for (size_t i = 0; i < count; i++) {\n\tif (!p[i]) continue;\n\tsum += p[i]->len * 0x1F;\n}\n",
    "def f(x, *args, **kw):\n    '''Don't.'''\n    return {k: v for k, v in kw.items() if v != \"\\n\"}\n\n\n",
    "<div class=\"a b\"><!-- note --><a href='https://example.org/a?b=c&d=%20'>x</a></div>\r\n",
    "SELECT a.id, COUNT(*) AS n FROM t AS a LEFT JOIN u ON u.id=a.id WHERE a.x>=10.5e-3 GROUP BY 1;\n",
    "$ tar -xzf ./a.tar.gz && cd a && ./configure --prefix=/usr/local 2>&1 | tee log.txt\n",
    "| a | b |\n|---|:-:|\n| 1 | **two** |\n\n```c\nint x;\n```\n- [ ] item\n",
    "#include <stdio.h>\n//////////////////////////////////////\n/* ==== */ int *p=&x; p->y++; a<<=2; b>>=3; c**=d//e;\n",
    "fn main() -> Result<(), Box<dyn Error>> { println!(\"{:?}\", vec![1u8; 4]); Ok(()) }\n",
    "\\documentclass{article}\\begin{document}$\\frac{a}{b}\\leq\\alpha_{i}^{2}$\\end{document}\n",
    "2026-11-24T09:13:18.123456Z ERROR [pid=4711] 0xDEADBEEF 192.168.0.1:8080 uuid=123e4567-e89b-12d3\n",
]

SPACES = [" ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u2028", "\u2029", "\u2003", "\u200b",
          "\x0b", "\x0c", "\x85", "\u1680", "\u202f", "\ufeff"]
LOOKALIKES = ["<|im_start|>", "<|im_end", "<|endoftext|>", "<s>", "</s>", "<unk>", "[INST]", "[/INST]",
              "<|eot_id|>", "<0x0A>", "<0xFF>", "▁", "▁▁", "Ġ", "Ċ", "[CLS]", "[SEP]", "[MASK]", "##ing",
              "<|", "|>", "<｜User｜>", "<start_of_turn>", "<bos>", "<extra_id_0>", "<think>", "</think>"]


def repository_text():
    out = []
    for path in sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("src/base/*.[ch]")):
        out.append(path.read_text(encoding="utf-8"))
    return "".join(out)


class Maker:
    def __init__(self, seed, specials):
        self.rng = random.Random(seed)
        self.specials = [s for s in specials if s] or LOOKALIKES
        self.own = repository_text()
        self.letters = [chr(c) for c in range(0x20, 0x3100) if unicodedata.category(chr(c)) != "Cn"]

    def shuffled(self):
        words = self.rng.choice(SENTENCES).split(" ")
        self.rng.shuffle(words)
        return " ".join(words)

    def excerpt(self):
        size = self.rng.choice((20, 200, 2000))
        at = self.rng.randrange(max(1, len(self.own) - size))
        return self.own[at:at + size]

    def code(self):
        lines = [self.rng.choice(CODE) for _ in range(self.rng.randint(1, 6))]
        return "".join(" " * self.rng.choice((0, 0, 2, 4, 8, 12)) + line for line in lines)

    def as_json(self):
        value = {self.shuffled()[:12]: [self.rng.random(), self.rng.randint(-10**9, 10**18), None, True],
                 "text": self.rng.choice(SENTENCES), "nested": {"a": {"b": []}}}
        return json.dumps(value, ensure_ascii=self.rng.random() < .5,
                          indent=self.rng.choice((None, 1, 2, 4)))

    def spaces(self):
        return "".join(self.rng.choice(SPACES) * self.rng.choice((1, 1, 2, 3, 7, 40))
                       for _ in range(self.rng.randint(1, 8)))

    def run(self):
        one = self.rng.choice(["a", "=", "-", "ab", "0", "的", "é", "\U0001f600", " ", "\n", "_", "xX", "."])
        return one * self.rng.choice((5, 17, 64, 255, 257, 700, 2000))

    def digits(self):
        return "".join(self.rng.choice("0123456789.,:- ") for _ in range(self.rng.randint(1, 40)))

    def special(self):
        token = self.rng.choice(self.specials if self.rng.random() < .7 else LOOKALIKES)
        kind = self.rng.random()
        if kind < .3:
            token = token[:self.rng.randint(0, len(token))]
        elif kind < .4:
            token = token.upper()
        elif kind < .5:
            token = token * self.rng.randint(2, 4)
        return self.rng.choice(["", "", " ", "  ", "a", "\n"]) + token + self.rng.choice(["", "", " ", "b", "\n\n"])

    def block(self):
        begin = self.rng.choice((0x20, 0xa0, 0x300, 0x400, 0x590, 0x900, 0xe00, 0x1100, 0x1e00, 0x2000, 0x2190,
                                 0x3040, 0x4e00, 0xac00, 0xf900, 0xfe20, 0xff00, 0x10000, 0x1d400, 0x1f300,
                                 0x20000, 0xe0000))
        return "".join(chr(begin + self.rng.randrange(0x80)) for _ in range(self.rng.randint(1, 60)))

    def noise(self):
        few = self.rng.sample(self.letters, 6) + self.rng.sample(SPACES, 2) + list("aZ'sT1.")
        return "".join(self.rng.choice(few) for _ in range(self.rng.randint(1, 60)))

    def any_character(self):
        out = []
        for _ in range(self.rng.randint(1, 40)):
            c = self.rng.randrange(0x110000)
            out.append("\ufffd" if 0xd800 <= c < 0xe000 else chr(c))
        return "".join(out)

    def controls(self):
        return "".join(chr(self.rng.choice((0, 1, 7, 8, 0x1b, 0x1f, 0x7f, 0x80, 0x9f, 0xad, 0x200d, 0x202e)))
                       if self.rng.random() < .6 else self.rng.choice("ab 1.") for _ in range(20))

    def letter_case(self):
        word = self.rng.choice(["internationalization", "HTTPServer", "camelCaseWord", "ÀÉÎ", "straße", "ΑΒΓ"])
        return "".join(c.upper() if self.rng.random() < .5 else c for c in word) + self.rng.choice(
            ["'s", "'LL ", "'ſ", "’s", "_1", "-", ""])

    def piece(self):
        kinds = (self.shuffled, self.shuffled, self.excerpt, self.code, self.as_json, self.spaces, self.run,
                 self.digits, self.special, self.special, self.block, self.block, self.noise, self.noise,
                 self.any_character, self.controls, self.letter_case, lambda: self.rng.choice(SENTENCES))
        return self.rng.choice(kinds)()


def texts(seed, size, specials=()):
    maker = Maker(seed, specials)
    out = ["", " ", "\n", "a", "  a", "a  ", "\u0301", "\x00"] + SENTENCES + CODE
    total = sum(len(t.encode()) for t in out)
    while total < size:
        text = "".join(maker.piece() for _ in range(maker.rng.choice((1, 1, 1, 2, 3, 8, 20))))
        if maker.rng.random() < .1:
            text = unicodedata.normalize(maker.rng.choice(("NFC", "NFD", "NFKD")), text)
        out.append(text)
        total += len(text.encode())
    return out


def malformed(seed, count):
    rng = random.Random(seed)
    maker = Maker(seed, ())
    out = [b"\xff", b"a\xc3", b"\xe2\x96", b"\xf0\x9f\x98b", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"]
    while len(out) < count:
        data = bytearray(maker.piece().encode()[:3000])
        for _ in range(rng.randint(1, 1 + len(data) // 8)):
            at = rng.randrange(len(data) + 1)
            if rng.random() < .5:
                data[at:at + 1] = b""
            else:
                data[at:at] = bytes([rng.randrange(0x80, 0x100)])
        out.append(bytes(data))
    return out
