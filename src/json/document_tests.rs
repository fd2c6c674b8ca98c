//! Tests which documents are accepted, and the texts of the errors.

use super::super::pairs::Pairs;
use super::*;

fn parse(text: &[u8]) -> Result<Json, String> {
    Json::parse(text).map_err(|e| e.to_string())
}

/// Documents that are read.
const HARD: &[&str] = &[
    "0",
    "-1",
    "-0",
    "-0.0",
    "1.5",
    "1e5",
    "1E+5",
    "1e-5",
    "0e0",
    "1.0",
    "10.50e10",
    "-1e-400",
    "1e400",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "123456789012345678901234567890",
    " \t\r\n1 \n",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[ ]",
    "{ }",
    "[1,[2,{\"a\":[]}]]",
    r#""""#,
    r#""\"\\\/\b\f\n\r\t\u00e9\u00E9""#,
    r#""\ud83d\ude00""#,
    r#""\u0000""#,
    r#""\uffff""#,
    "\"\u{7f}é€😀\u{feff}\"",
    r#"{"":0}"#,
    r#"{"a":1,"A":2}"#,
];

/// Documents that are refused.
const WRONG: &[&str] = &[
    "",
    " ",
    "\u{feff}1",
    "01",
    "-01",
    "00",
    "-",
    "+1",
    ".5",
    "1.",
    "1.e5",
    "1e",
    "1e+",
    "1.5.5",
    "0x10",
    "1_0",
    "NaN",
    "Infinity",
    "-Infinity",
    "nul",
    "nulL",
    "truefalse",
    "True",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1",
    "[1,",
    "[",
    "]",
    "{",
    "}",
    r#"{"a"}"#,
    r#"{"a":}"#,
    r#"{"a":1,}"#,
    r#"{,"a":1}"#,
    r#"{"a":1 "b":2}"#,
    r#"{a:1}"#,
    r#"{1:1}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"a":1,"\u0061":2}"#,
    r#"{"a":1] "#,
    "[1}",
    "1 1",
    "{} x",
    "'a'",
    r#"""#,
    r#""a"#,
    r#""\"#,
    r#""\x""#,
    r#""\u"#,
    r#""\u12""#,
    r#""\u123g""#,
    r#""\ud800""#,
    r#""\ud800x""#,
    r#""\ud800\n""#,
    r#""\ud800\ud800""#,
    r#""\udc00""#,
    r#""\udc00\ud800""#,
    r#""\ud800\u0041""#,
    "\"a\nb\"",
    "\"\0\"",
    "\"\u{1f}\"",
    "\0",
    "1\0",
    "// c\n1",
    "\u{a0}1",
    "1\u{c}",
];

/// Refused documents that are not UTF-8, or have a byte order mark.
const NOT_UTF8: &[&[u8]] =
    &[b"\"\xff\"", b"\"\xc3\"", b"\xef\xbb\xbf{}", b"\"\xed\xa0\x80\"", b"\"\xc0\x80\"", b"1 \xff"];

#[test]
fn hard_documents_are_taken_or_refused() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    let deep = [nested(127), objects(127)];
    for text in HARD.iter().copied().chain(deep.iter().map(String::as_str)) {
        let read = parse(text.as_bytes());
        assert!(read.is_ok(), "{text} is refused: {read:?}");
    }
    let too_deep = [nested(128), objects(128), nested(200_000)];
    let texts = WRONG.iter().copied().chain(too_deep.iter().map(String::as_str)).map(str::as_bytes);
    for text in texts.chain(NOT_UTF8.iter().copied()) {
        assert!(parse(text).is_err(), "{} is taken", String::from_utf8_lossy(text));
    }
}

#[test]
fn errors_say_what_and_where() {
    for (text, says) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("\n\n", "EOF while parsing a value at line 3 column 0"),
        ("{\n\"a\": }", "expected value at line 2 column 6"),
        ("[\n\n tru]", "expected ident at line 3 column 5"),
        ("[1,\n2", "EOF while parsing a list at line 2 column 1"),
        ("{", "EOF while parsing an object at line 1 column 1"),
        ("[1,]", "trailing comma at line 1 column 4"),
        ("[1 2]", "expected `,` or `]` at line 1 column 4"),
        ("{\"a\":1 2}", "expected `,` or `}` at line 1 column 8"),
        ("{\"a\" 1}", "expected `:` at line 1 column 6"),
        ("{1:1}", "key must be a string at line 1 column 2"),
        ("{\"a\":1} x", "trailing characters at line 1 column 9"),
        ("[01]", "invalid number at line 1 column 3"),
        ("[1.x]", "invalid number at line 1 column 4"),
        ("\"a\nb\"", "control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0"),
        ("\"\\x\"", "invalid escape at line 1 column 3"),
        ("{}\n{}", "trailing characters at line 2 column 1"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err(), says, "{text}");
    }
    for (text, says) in [
        (&br#"{"a": 1, "a": 2}"#[..], "duplicate key \"a\" at line 1 column 12"),
        (b"[\"\xff\"]", "invalid unicode code point at line 1 column 3"),
        (b"{}\xff", "trailing characters at line 1 column 3"),
    ] {
        assert_eq!(parse(text).unwrap_err(), says);
    }
    let e = Json::parse("[".repeat(200_000).as_bytes()).unwrap_err().to_string();
    assert_eq!(e, "recursion limit exceeded at line 1 column 128");
}

#[test]
fn numbers_are_kept_as_they_are_written() {
    for text in ["7", "-7", "1.5", "-0.25", "1e2", "1e300", "-0", "18446744073709551616"] {
        let json = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(json, Json::Number(text));
        assert_eq!(json.kind(), "a number");
        assert_eq!(json.compact(), text);
    }
}

#[test]
fn a_key_given_twice_is_found_among_many() {
    let many = |last: &str| {
        let keys: Vec<String> = (0..100_000).map(|i| format!("\"k{i}\":0")).collect();
        format!("{{{},\"{last}\":0}}", keys.join(","))
    };
    assert!(Json::parse(many("other").as_bytes()).is_ok());
    let e = Json::parse(many("k70").as_bytes()).unwrap_err().to_string();
    assert!(e.starts_with("duplicate key \"k70\" at line 1 column "), "{e}");
}

#[test]
fn numbers_are_found_among_strings() {
    let text = r#"{"a\"1":[-1,"2\\","\"3\u00e9",{"4":null,"5\n":5.50e1}],"6":true,"\t":[[],-0,"7",18446744073709551616]}"#;
    assert_eq!(parse(text.as_bytes()).unwrap().compact(), text.replace("\\u00e9", "é"));
}

#[test]
fn annotations_are_kept_as_they_stand() {
    let read = |text: &'static str| {
        let mut pairs = Pairs::default();
        read(text.as_bytes(), &mut pairs).map(|()| pairs).map_err(|e| e.to_string())
    };
    let pairs = read("{ \"a\\\"\" :\n\"\\u00e9\\\\\", \"b\":\"\"}").unwrap();
    assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a\"", "é\\"), ("b", "")]);
    assert_eq!(Json::Pairs(pairs).compact(), r#"{"a\"":"\u00e9\\","b":""}"#);
    assert!(read("{ }").unwrap().is_empty());
    assert_eq!(read(r#"{"a":null}"#).unwrap_err(), "a: must be a string, is null");
    assert_eq!(read(r#"{"b":"\u0000"}"#).unwrap_err(), "b: contains a NUL character");
    assert_eq!(read(r#"{"b\u0000":""}"#).unwrap_err(), "contains a NUL character");
}
