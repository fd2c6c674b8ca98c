//! The reader against serde_json: what one takes the other takes, with the same values.
//!
//! Two differences are meant: a key given twice is refused here, and a number without a 64-bit integer is kept as its text
//! (serde_json makes a float, and refuses one beyond its range).

use super::*;

/// The same value as serde_json has it: integers exact, other numbers only as numbers.
fn same(ours: &Json, theirs: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Number(a), Value::Number(b)) if b.is_f64() => close(a.parse().unwrap(), b.as_f64().unwrap()),
        (Json::Number(a), Value::Number(b)) => *a == b.to_string(),
        (Json::Str(a), Value::String(b)) => a == b,
        (Json::List(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(*k).is_some_and(|b| same(v, b)))
        }
        _ => false,
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= a.abs() * 1e-12
}

/// Whether both take it, with the same value, but for the differences that are meant.
fn agree(bytes: &[u8]) -> bool {
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes).map_err(|e| e.to_string());
    let shown = String::from_utf8_lossy(bytes);
    match (Json::parse(bytes), theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert!(same(&ours, &theirs), "{shown}: {ours:?} is not {theirs}");
            true
        }
        (Err(ours), Ok(_)) => {
            assert!(ours.to_string().starts_with("duplicate key "), "{shown}: only we refuse it: {ours}");
            false
        }
        (Ok(_), Err(theirs)) => {
            assert!(theirs.starts_with("number out of range"), "{shown}: only we take it: {theirs}");
            true
        }
        (Err(_), Err(_)) => false,
    }
}

#[test]
fn what_is_hard_to_read() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    let taken: Vec<Vec<u8>> = [
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
        "1e400",
        "-1e-400",
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
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .chain([nested(127).into_bytes(), objects(127).into_bytes()])
    .collect();
    for text in &taken {
        assert!(agree(text), "{} is refused", String::from_utf8_lossy(text));
    }
    let refused: Vec<Vec<u8>> = [
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
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .chain([nested(128).into_bytes(), objects(128).into_bytes(), nested(200_000).into_bytes()])
    .chain(
        [&b"\"\xff\""[..], b"\"\xc3\"", b"\xef\xbb\xbf{}", b"\"\xed\xa0\x80\"", b"\"\xc0\x80\"", b"1 \xff"]
            .map(Vec::from),
    )
    .collect();
    for text in &refused {
        assert!(!agree(text), "{} is taken", String::from_utf8_lossy(text));
    }
}

#[test]
fn broken_at_random_both_say_the_same() {
    let seeds = [
        r#"{"ociVersion":"1.0.2","process":{"args":["sh","-c","a\"\\\u00e9\ud83d\ude00é"],"user":{"uid":0,"gid":-1}},
 "n":[18446744073709551615,-9223372036854775808,1.5,1e5,-0,0.25E-3,null,true,false],"e":{},"l":[ ]}"#,
        r#"[[[{"a":{"b":[1,2,{"c":"d"}]}}]],"\ud800\udc00","\u0000\b\f\n\r\t\/",-0.0e+0,123456789012345678901234567890]"#,
    ];
    let pieces: &[&[u8]] = &[
        b"",
        b"\"",
        b"\\",
        b"\\u",
        b"\\ud8",
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"E5",
        b"+",
        b",",
        b":",
        b"[",
        b"]",
        b"{",
        b"}",
        b" ",
        b"\n",
        b"\t",
        b"\0",
        b"\x1f",
        b"\xff",
        b"\xc3",
        b"\xa9",
        b"null",
        b"true",
        b"fals",
        b"99999999999999999999",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    };
    let (mut taken, mut refused) = (0, 0);
    for round in 0..30_000 {
        let mut text = seeds[round % 2].as_bytes().to_vec();
        for _ in 0..=below(2) {
            let from = below(text.len());
            let to = (from + below(4)).min(text.len());
            text.splice(from..to, pieces[below(pieces.len())].iter().copied());
        }
        if below(8) == 0 {
            text.truncate(below(text.len()));
        }
        if agree(&text) { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 2_000 && refused > 2_000, "{taken} taken, {refused} refused");
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
        let theirs = serde_json::from_str::<serde_json::Value>(text).unwrap_err().to_string();
        assert_eq!(theirs, says, "{text}: what serde_json says");
        assert_eq!(Json::parse(text.as_bytes()).unwrap_err().to_string(), says, "{text}");
    }
    for (text, says) in [
        (&br#"{"a": 1, "a": 2}"#[..], "duplicate key \"a\" at line 1 column 12"),
        (b"[\"\xff\"]", "invalid unicode code point at line 1 column 2"),
        (b"{}\xff", "trailing characters at line 1 column 2"),
    ] {
        assert_eq!(Json::parse(text).unwrap_err().to_string(), says);
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
