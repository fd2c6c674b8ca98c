//! Draws choices from the bytes of an input: each byte is one choice.

/// The bytes that are left. A draw from none is zero.
pub struct Draw<'a>(pub &'a [u8]);

/// Numbers at the boundaries of the kernel's and the specification's types.
pub const EDGES: [i128; 16] = [
    0,
    1,
    -1,
    2,
    8,
    63,
    255,
    4095,
    65_535,
    1 << 20,
    i32::MAX as i128,
    u32::MAX as i128,
    1 << 32,
    i64::MAX as i128,
    u64::MAX as i128,
    1 << 64,
];

impl<'a> Draw<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `n`, at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A number of four bytes.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes([0; 4].map(|_: u8| self.byte()))
    }

    /// A small number, or one at a boundary.
    pub fn number(&mut self) -> i128 {
        if self.one_in(4) { self.pick(&EDGES) } else { self.byte().into() }
    }

    /// The next bytes, up to `most`.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let n = self.below(most + 1).min(self.0.len());
        let (first, rest) = self.0.split_at(n);
        self.0 = rest;
        first
    }

    /// A short text.
    pub fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.bytes(most)).into_owned()
    }

    /// Whether bytes are left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
