"""Odd and bad text as data: what is in a file, and what becomes of it with either tokenizer.

A case is (name, content, sentencepiece, GPT-2). The content is text, bytes, or None for a folder. What becomes of it:
EXACT, where each line comes back from its pieces as it was given; a list of the lines that come back, EXACT for those
that do not change; or the error, as a string.
"""

import bz2
import gzip
import lzma

EXACT = "EXACT"
BLANK = "line 2 is empty (1 in all): remove empty lines"
UTF8 = "not UTF-8 at byte"
CR = r"line {}: a carriage return within it, where lines end in \n or \r\n"

REFUSED = [  # with either tokenizer
    ("an empty file", "", "is empty: expected one sentence a line"),
    ("a newline alone", "\n", "line 1 is empty"),
    ("an empty line", "a dog\n\na cat\n", BLANK),
    ("an empty line at the end", "a dog\n\n", BLANK),
    ("spaces", "a dog\n   \n", BLANK),
    ("a tab", "a dog\n\t\na cat\n", BLANK),
    ("no-break spaces", "a dog\n\u00a0\u00a0\n", BLANK),
    ("an ideographic space", "a dog\n\u3000\n", BLANK),
    ("a line separator alone", "a dog\n\u2028\n", BLANK),
    ("a form feed alone", "a dog\n\x0c\n", BLANK),
    ("an empty line between CRLFs", "a dog\r\n\r\na cat\r\n", BLANK),
    ("a byte order mark alone", "\ufeff", "line 1 is empty"),
    ("a byte order mark and a newline", "\ufeff\n", "line 1 is empty"),
    ("a byte order mark on a line", "a dog\n\ufeff\na cat\n", BLANK),
    ("lone carriage returns", "a dog\ra cat\r", CR.format(1)),
    ("a carriage return in a line", "a dog\nthe\rcat\n", CR.format(2)),
    ("CR CR LF", "a dog\r\na cat\r\r\n", CR.format(2)),
    ("NUL", "a dog\na cat\nthe\0dog\n", "line 3: a NUL byte"),
    ("UTF-16 without a mark", "a dog\n".encode("utf-16-le"), "line 1: a NUL byte, which no text has: is it UTF-16"),
    ("UTF-16, little end first", b"\xff\xfe" + "a dog\n".encode("utf-16-le"), "iconv -f UTF-16 -t UTF-8"),
    ("UTF-16, big end first", b"\xfe\xff" + "a dog\n".encode("utf-16-be"), "iconv -f UTF-16 -t UTF-8"),
    ("UTF-32", b"\xff\xfe\0\0" + "a dog\n".encode("utf-32-le"), "iconv -f UTF-32 -t UTF-8"),
    ("Latin-1", b"first\ncaf\xe9\n", f"line 2: {UTF8} 9 of the file; convert it, e.g. with iconv -f LATIN1 -t UTF-8"),
    ("quotes of Windows-1252", b"\x93hi\x94\n", f"line 1: {UTF8} 0"),
    ("UTF-8 that is cut off", b"a dog\ncaf\xc3", f"line 2: {UTF8} 9"),
    ("an overlong form", b"a\xc0\x80b\n", f"line 1: {UTF8} 1"),
    ("half a surrogate pair", b"a dog\n\xed\xa0\x80\n", f"line 2: {UTF8} 6"),
    ("beyond the last code point", b"\xf4\x90\x80\x80\n", f"line 1: {UTF8} 0"),
    ("a byte that continues nothing", b"a\x80b\n", f"line 1: {UTF8} 1"),
    ("gzip", gzip.compress(b"a dog\n", mtime=0), "compressed by gzip: unpack it with gunzip"),
    ("xz", lzma.compress(b"a dog\n"), "compressed by xz: unpack it with unxz"),
    ("bzip2", bz2.compress(b"a dog\n"), "compressed by bzip2: unpack it with bunzip2"),
    ("zip", b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "it is a zip archive: unpack it"),
    ("zstd", b"\x28\xb5\x2f\xfd\x04\x00", "compressed by zstd: unpack it with unzstd"),
    ("a folder", None, "is a folder: expected a text file, one sentence a line"),
    ("100,000 tokens", "a dog\n" + "a " * 100000 + "\n", "line 2 is too long: 100,000 tokens, where the test takes"),
    ("a word of 5,000 letters", "a dog\n" + "q" * 5000 + "\n", "line 2 is too long: 5,00"),
]

KEPT = [  # as given with either tokenizer
    ("one line without its end", "a dog"),
    ("two lines, the last without its end", "a dog\na cat"),
    ("fairseq's marks", "<s> </s> <mask> <unk> <pad>\n"),
    ("the name of a byte's piece", "<0x41> and <0xFF>\n"),
    ("a dictionary's filler", "madeupword0000\n"),
    ("marks of subword-nmt", "a@@ dog @@\n"),
    ("a word that begins with a dash", "-a --set dog\n"),
    ("escapes that are text", 'a\\n\\tdog \\u0041 &amp; {"a": 1} %s ${x} $(y)\n'),
    ("composed accents", "caf\u00e9 \u00c5ngstr\u00f6m\n"),
    ("German", "stra\u00dfe \u00dcbergr\u00f6\u00dfe \u1e9e\n"),
    ("Greek and Cyrillic", "\u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u043f\u0440\u0438\u0432\u0435\u0442\n"),
    ("Hebrew", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd\n"),
    ("Hebrew with points", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd\n"),
    ("Arabic", "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645\n"),
    ("Devanagari", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e\n"),
    ("Thai", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01\n"),
    ("Chinese and Japanese", "\u65e5\u672c\u8a9e \u4f60\u597d \u3053\u3093\u306b\u3061\u306f\n"),
    ("Korean syllables", "\uac01 \ud55c\uad6d\uc5b4\n"),
    ("an emoji", "emoji \U0001f600\n"),
    ("a family, joined by ZWJ", "\U0001f468\u200d\U0001f469\u200d\U0001f467\n"),
    ("flags", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 \U0001f3f4\U000e0067\U000e0062\U000e007f\n"),
    ("a tone of skin", "\U0001f44d\U0001f3fd\n"),
    ("a keycap", "1\ufe0f\u20e3\n"),
    ("planes of letters", "\U00010348 \U00020bb7 \U0001e900\n"),
    ("the last code points", "\U0010fffd \ufffe\uffff\ufdd0 \ue000\n"),
    ("accents on accents", "z\u0351\u0323\u0310\u0489algo\n"),
    ("a soft hyphen", "co\u00adop\n"),
    ("an override of direction", "a\u202eb\u202c c\n"),
    ("a word joiner", "a\u2060b\n"),
    ("Unicode's next line, within", "a\x85b\n"),
    ("an accent alone", "\u0301\n"),
]

READ = [  # (name, content, the lines that come back): with either tokenizer, by the law of what a sentence is
    ("CRLF", "a dog\r\nthe cat\r\n", ["a dog", "the cat"]),
    ("ends of both kinds", "a dog\r\nthe cat\na cat", ["a dog", "the cat", "a cat"]),
    ("a byte order mark at the head", "\ufeffa dog\na cat\n", ["a dog", "a cat"]),
    ("a byte order mark and CRLF", "\ufeffa dog\r\n", ["a dog"]),
    ("files with marks, joined", "\ufeffa dog\n\ufeffa cat\n", ["a dog", "a cat"]),
    ("white space at the ends", " \t a dog \t\n", ["a dog"]),
]

CHANGED = [  # (name, content, what sentencepiece gives back); as given with GPT-2's BPE
    ("combining accents", "a dog\ncafe\u0301\n", [EXACT, "caf\u00e9"]),
    ("a no-break space", "a\u00a0dog\n", ["a dog"]),
    ("a no-break space at the end", "a dog\u00a0\n", ["a dog"]),
    ("a line separator, within", "a\u2028dog\n", ["a dog"]),
    ("a paragraph separator, within", "a\u2029dog\n", ["a dog"]),
    ("an ideographic space, within", "a\u3000dog\n", ["a dog"]),
    ("a zero-width space, within", "a\u200bdog\n", ["a dog"]),
    ("a byte order mark, within", "a\ufeffdog\n", ["a dog"]),
    ("sentencepiece's own mark", "a\u2581dog\n", ["a dog"]),
    ("a tab, within", "a\tdog\n", ["a dog"]),
    ("two spaces", "a  dog\n", ["a dog"]),
    ("a form feed, within", "a\x0cdog\n", ["a dog"]),
    ("a vertical tab, within", "a\x0bdog\n", ["adog"]),
    ("separators of files, within", "a\x1cdog\x1f\n", ["adog"]),
    ("control characters", "a\x01dog\x1b[0m\x7f\n", ["adog[0m"]),
    ("marks of direction", "\u200e\u200fab\n", ["ab"]),
    ("a replacement character", "a\ufffddog\n", ["a dog"]),
    ("a ligature", "\ufb01ne\n", ["fine"]),
    ("fractions and numerals", "\u00bd \u2163\n", ["1\u20442 IV"]),
    ("an ellipsis", "a dog\u2026\n", ["a dog..."]),
    ("full width", "\uff21\uff22\uff23\n", ["ABC"]),
    ("half-width katakana", "\uff76\uff9e\n", ["\u30ac"]),
    ("Korean letters", "\u1100\u1161\u11a8\n", ["\uac01"]),
    ("an Arabic ligature", "\ufefb\n", ["\u0644\u0627"]),
    ("a Devanagari letter that composes from two", "\u0958\n", ["\u0915\u093c"]),
    ("Thai am", "\u0e19\u0e49\u0e33\n", ["\u0e19\u0e49\u0e4d\u0e32"]),
    ("mathematics", "\u2200x\u2208\u211d: \u2211 x\u00b2 \u2264 \u221e\n", ["\u2200x\u2208R: \u2211 x2 \u2264 \u221e"]),
    ("letters of mathematics", "\U0001d518\n", ["U"]),
    ("two question marks in one", "a dog \u2047\n", ["a dog ??"]),
]

NOTHING = "has nothing that the tokenizer keeps"
GONE = [  # (name, content): sentencepiece makes nothing of line 2; as given with GPT-2's BPE
    ("a zero-width space alone", "a dog\n\u200b\na cat\n"),
    ("a mark of direction alone", "a dog\n\u200e\n"),
    ("a control character alone", "a dog\n\x01\n"),
    ("a delete character alone", "a dog\n\x7f\n"),
]

CASES = [
    *((name, content, error, error) for name, content, error in REFUSED),
    *((name, content, EXACT, EXACT) for name, content in KEPT),
    *((name, content, lines, lines) for name, content, lines in READ),
    *((name, content, lines, EXACT) for name, content, lines in CHANGED),
    *((name, content, f"line 2 {NOTHING}", EXACT) for name, content in GONE),
]
