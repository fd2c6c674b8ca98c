//! A minimal JSON writer: values are built as text.

/// A JSON string.
pub fn text(s: impl AsRef<str>) -> String {
    let mut out = String::from("\"");
    for c in s.as_ref().chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A JSON array of finished values.
pub fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// A JSON array of strings.
pub fn texts<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    list(items.into_iter().map(text))
}

/// A JSON object of finished values.
pub fn object(fields: impl IntoIterator<Item = (String, String)>) -> String {
    let fields: Vec<_> = fields.into_iter().map(|(k, v)| format!("{}:{v}", text(k))).collect();
    format!("{{{}}}", fields.join(","))
}
