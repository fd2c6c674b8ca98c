//! The one error type, and the strings that engines match.
//!
//! An error is one line without capitals and full stop. Each level adds a fact that the level below did not have (`create web:
//! mount proc at /proc: mount: operation not permitted (EPERM)`). It is returned or reported, never both; only `main` prints
//! it.

use std::ffi::CStr;
use std::fmt::{self, Write as _};

pub use nix::errno::Errno;

/// A failure as one line for a person, with the errno that caused it, if any.
///
/// It is one pointer wide, so that a `Result` fits a register: errors are rare, but the code that passes them on is
/// everywhere.
pub struct Error(Box<Inner>);

struct Inner {
    text: String,
    errno: Option<Errno>,
    exit: u8,
}

/// The result of operations whose failure a person should read about.
pub type Result<T> = std::result::Result<T, Error>;

// Printable arguments are passed on as one type. Otherwise each type would have its own copy of the formatting.
#[cold]
#[inline(never)]
fn in_front(mut e: Error, fact: &dyn fmt::Display) -> Error {
    e.0.text = format!("{fact}: {}", e.0.text);
    e
}

#[cold]
#[inline(never)]
fn behind(mut e: Error, hint: &dyn fmt::Display) -> Error {
    e.0.text = format!("{} ({hint})", e.0.text);
    e
}

impl Error {
    /// An error without a system call: bad input, a refused request.
    #[cold]
    pub fn new(text: impl Into<String>) -> Error {
        Error(Box::new(Inner { text: text.into(), errno: None, exit: 1 }))
    }

    /// The same with a formatted text.
    #[cold]
    #[inline(never)]
    pub fn of(text: fmt::Arguments<'_>) -> Error {
        Error::new(fmt::format(text))
    }

    /// The error of a system call or a look-up that returned an errno.
    ///
    /// `what` is the call or the operation.
    pub fn os(what: impl fmt::Display, errno: Errno) -> Error {
        Error::from(errno).context(what)
    }

    /// An error that another process reports: its text and its errno (0 for none).
    pub fn caused(text: impl Into<String>, errno: i32) -> Error {
        let mut e = Error::new(text);
        e.0.errno = Some(Errno::from_raw(errno)).filter(|e| *e != Errno::UnknownErrno);
        e
    }

    /// Puts a fact in front: `fact: the error so far`.
    pub fn context(self, fact: impl fmt::Display) -> Error {
        in_front(self, &fact)
    }

    /// Appends a possible fix: `the error so far (hint)`.
    pub fn hint(self, hint: impl fmt::Display) -> Error {
        behind(self, &hint)
    }

    /// The same error with another exit status than 1.
    pub fn exit_with(mut self, status: u8) -> Error {
        self.0.exit = status;
        self
    }

    /// Whether it is exactly this sentence of [`engine`].
    pub fn is(&self, sentence: &str) -> bool {
        self.0.text == sentence
    }

    /// Whether it begins with these words.
    pub fn begins(&self, words: &str) -> bool {
        self.0.text.starts_with(words)
    }

    /// The errno of the system call at its root, if there was one.
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// The exit status that `main` ends with.
    pub fn exit(&self) -> u8 {
        self.0.exit
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    /// Only calls on sockets and descriptors return one, with the kernel's errno.
    ///
    /// The library's own texts would cost 2 KB.
    #[cold]
    #[inline(never)]
    fn from(e: std::io::Error) -> Error {
        Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)).into()
    }
}

impl From<Errno> for Error {
    #[cold]
    #[inline(never)]
    fn from(e: Errno) -> Error {
        Error(Box::new(Inner { text: describe(e), errno: Some(e), exit: 1 }))
    }
}

/// Adds context to any value that converts to an [`Error`].
pub trait Context<T> {
    /// Puts a fact in front of the error; the closure runs only if there is one.
    fn context<D: fmt::Display>(self, fact: impl FnOnce() -> D) -> Result<T>;

    /// The same with a fixed text. Out of line, to keep call sites small.
    fn at(self, fact: &str) -> Result<T>;

    /// The same with a text that is formatted only if needed.
    fn about(self, fact: fmt::Arguments<'_>) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, fact: impl FnOnce() -> D) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(e) => Err(e.into().context(fact())),
        }
    }

    fn at(self, fact: &str) -> Result<T> {
        self.context(|| fact)
    }

    fn about(self, fact: fmt::Arguments<'_>) -> Result<T> {
        self.context(|| fact)
    }
}

/// A C string within a message; invalid UTF-8 is replaced.
pub struct Lossy<'a>(pub &'a CStr);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string_lossy())
    }
}

/// A foreign text within a message, in quotes and [`Escaped`].
///
/// For ASCII it equals `{:?}`. Beyond ASCII, `{:?}` needs tables of 3 KB to decide which characters are printable.
#[derive(Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Escaped(self.0))
    }
}

impl fmt::Debug for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text on one line, with unsafe characters written as in Rust's source.
///
/// Unsafe are the ends of the line and of quotes, control sequences of terminals, characters that hide or reorder
/// others, and bytes that are not UTF-8 ([`crate::text`]).
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\0' => match chars.next_if(|byte| matches!(byte, '\u{80}'..='\u{ff}')) {
                    Some(byte) => write!(f, "\\x{:02x}", u32::from(byte))?,
                    None => f.write_str("\\0")?,
                },
                '"' | '\\' | '\t' | '\n' | '\r' => write!(f, "{}", c.escape_default())?,
                c if c.is_control() || is_invisible(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Marks of direction, joiners, line separators, tags and the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// An errno as engines and people know it, with its symbol for searching.
///
/// The words are the C library's in small letters, as Go prints them: engines match "no such file or directory", "permission
/// denied" and so on.
pub fn describe(errno: Errno) -> String {
    let (name, words) = crate::sys::errno::texts(errno);
    format!("{words} ({name})")
}

/// Texts of runc that engines match. A changed letter changes what an engine does.
pub mod engine {
    /// containerd's shims read it as "not found", and a delete as done.
    pub const NOT_EXIST: &str = "container does not exist";
    /// runc's words; shown to users by every engine.
    pub const ALREADY_EXISTS: &str = "container with given ID already exists";
    /// containerd's shims and CRI-O read it as a successful kill.
    pub const NOT_RUNNING: &str = "container not running";
    /// runc's words.
    pub const NOT_PAUSED: &str = "container not paused";
    /// runc's words, for exec.
    pub const EXEC_STOPPED: &str = "cannot exec in a stopped container";
    /// runc's words, for exec.
    pub const EXEC_PAUSED: &str = "cannot exec in a paused container (use --ignore-paused to override)";
    /// runc's words, for start.
    pub const START_RUNNING: &str = "cannot start an already running container";
    /// runc's words, for start.
    pub const START_STOPPED: &str = "cannot start a container that has stopped";
    /// runc's words, for a delete whose killed init does not end.
    pub const INIT_STILL_RUNNING: &str = "container init still running";
    /// runc's words in front of a failure of init, for its tests and for searches.
    pub const IN_INIT: &str = "unable to start container process: error during container init";
    /// runc's words; kubelet's tests match them.
    pub const INIT_OOM: &str = "container init was OOM-killed (memory limit too low?)";
    /// podman, and docker before 25: status 126.
    pub const DENIED: &str = "permission denied";
    /// podman finds the file of a security label between these.
    ///
    /// It then reports a fault of labels.
    pub const ATTRIBUTE_QUOTE: char = '`';
    /// podman and dockerd turn it into exit status 127.
    pub const NOT_FOUND_IN_PATH: &str = "executable file not found in $PATH";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_read_as_engines_match_them() {
        assert_eq!(describe(Errno::ENOENT), "no such file or directory (ENOENT)");
        assert_eq!(describe(Errno::EACCES), "permission denied (EACCES)");
        assert_eq!(describe(Errno::EISDIR), "is a directory (EISDIR)");
        assert_eq!(describe(Errno::EUCLEAN), "structure needs cleaning (EUCLEAN)");
        assert_eq!(describe(Errno::ENOTNAM), "no error information (ENOTNAM)");
        assert_eq!(describe(Errno::UnknownErrno), "no error information (UnknownErrno)");
    }

    #[test]
    fn quoted_is_what_debug_prints_for_ascii() {
        let ascii: String = (0..128u8).map(char::from).collect();
        assert_eq!(Quoted(&ascii).to_string(), format!("{ascii:?}"));
        assert_eq!(format!("{:?}", Quoted("é 漢 \u{301}")), "\"é 漢 \u{301}\"");
    }

    #[test]
    fn quoted_shows_bytes_that_are_not_utf8() {
        assert_eq!(Quoted(crate::text::of(c"caf\xe9 \xff\x80")).to_string(), r#""caf\xe9 \xff\x80""#);
        assert_eq!(Quoted("\0é漢").to_string(), "\"\\xe9漢\"");
    }

    #[test]
    fn quoted_lets_nothing_through_that_cannot_be_seen() {
        for c in ('\0'..=char::MAX)
            .filter(|c| c.is_control())
            .chain("\u{61c}\u{202e}\u{2066}\u{2028}\u{e0041}".chars())
        {
            let text = Quoted(c.encode_utf8(&mut [0; 4])).to_string();
            assert_eq!(text, format!("{:?}", c.to_string()));
            assert!(text.is_ascii() && text.len() > 3, "{text}");
        }
    }

    #[test]
    fn context_goes_in_front_and_hints_behind() {
        let e: Result<()> = Err(Errno::EPERM).at("mount");
        let e = e.at("create web").unwrap_err().hint("add CAP_SYS_ADMIN");
        assert_eq!(e.to_string(), "create web: mount: operation not permitted (EPERM) (add CAP_SYS_ADMIN)");
        assert_eq!(e.errno(), Some(Errno::EPERM));
    }
}
