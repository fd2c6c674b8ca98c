//! Encodes and decodes D-Bus values.

use crate::cgroup::place::unit::PropertyValue;

/// Builds a message body with D-Bus alignment.
#[derive(Default)]
pub struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, n: u32) {
        self.align(4);
        self.0.extend(n.to_le_bytes());
    }

    pub(super) fn u64(&mut self, n: u64) {
        self.align(8);
        self.0.extend(n.to_le_bytes());
    }

    /// Writes a string or an object path.
    pub fn str(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// Writes a boolean.
    pub fn bool(&mut self, b: bool) {
        self.u32(b.into());
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// Writes an array whose items are aligned to `align`.
    pub(super) fn array(&mut self, align: usize, items: &mut dyn FnMut(&mut Writer)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        items(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Writes an `au`.
    pub fn u32s(&mut self, list: &[u32]) {
        self.array(4, &mut |w| list.iter().for_each(|n| w.u32(*n)));
    }

    /// Writes a value preceded by its type.
    pub(super) fn variant(&mut self, value: &PropertyValue) {
        self.signature(value.signature());
        match value {
            PropertyValue::Bool(b) => self.bool(*b),
            PropertyValue::I32(n) => self.u32(*n as u32),
            PropertyValue::U32(n) => self.u32(*n),
            PropertyValue::I64(n) => self.u64(*n as u64),
            PropertyValue::U64(n) => self.u64(*n),
            PropertyValue::Str(s) => self.str(s),
            PropertyValue::Bytes(bytes) => self.array(1, &mut |w| w.0.extend(bytes)),
            PropertyValue::U32s(list) => self.u32s(list),
            PropertyValue::Strs(list) => self.array(4, &mut |w| list.iter().for_each(|s| w.str(s))),
            PropertyValue::Pairs(list) => self.array(8, &mut |w| {
                for (a, b) in list {
                    w.align(8);
                    w.str(a);
                    w.str(b);
                }
            }),
            PropertyValue::Limits(list) => self.array(8, &mut |w| {
                for (name, n) in list {
                    w.align(8);
                    w.str(name);
                    w.u64(*n);
                }
            }),
        }
    }

    /// Writes an `a(sv)`.
    pub fn properties(&mut self, list: &[&(String, PropertyValue)]) {
        self.array(8, &mut |w| {
            for (name, value) in list {
                w.align(8);
                w.str(name);
                w.variant(value);
            }
        });
    }

    /// Writes an empty array of structures.
    pub fn nothing(&mut self) {
        self.array(8, &mut |_| ());
    }
}

/// Reads a message body.
#[derive(Debug, Default)]
pub struct BodyReader {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
    pub(super) big_endian: bool,
}

impl BodyReader {
    pub(super) fn take(&mut self, n: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(n)?;
        let found = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(found)
    }

    pub(super) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    /// Reads a 32-bit number.
    pub fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let big_endian = self.big_endian;
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Reads a string or an object path.
    pub fn str(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }

    pub(super) fn signature(&mut self) -> Option<String> {
        let length = usize::from(*self.take(1)?.first()?);
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }

    /// Reads a string preceded by its type.
    pub fn variant_str(&mut self) -> Option<String> {
        (self.signature()? == "s").then(|| self.str()).flatten()
    }
}
