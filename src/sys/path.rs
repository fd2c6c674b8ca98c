//! The paths of files: canonical, absolute, joined.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::fcntl::{AT_FDCWD, OFlag};

use super::Errno;
use super::file::{PATH_MAX, Path, open, readlinkat};
use super::mount_api::FdPath;

type Result<T> = std::result::Result<T, Errno>;

/// The kernel's path of a file: absolute, without links, dots, double slashes.
pub fn canonical(path: &(impl Path + ?Sized)) -> Result<Vec<u8>> {
    path_of(open(path, OFlag::O_PATH)?)
}

/// The kernel's path of an open file.
pub fn path_of(file: impl AsFd) -> Result<Vec<u8>> {
    readlinkat(AT_FDCWD, FdPath::new(file.as_fd()).as_c_str())
}

/// The working directory; ENOENT if it cannot be reached from the root.
pub fn current_dir() -> Result<String> {
    let mut text = [0u8; PATH_MAX];
    // SAFETY: the kernel writes at most as many bytes as there is room for, with a NUL at the end.
    Errno::result(unsafe { libc::syscall(libc::SYS_getcwd, text.as_mut_ptr(), text.len()) })?;
    let path = CStr::from_bytes_until_nul(&text).unwrap_or_default();
    // For an unreachable directory the kernel returns "(unreachable)…".
    if !text.starts_with(b"/") {
        return Err(Errno::ENOENT);
    }
    path.to_str().map(str::to_owned).map_err(|_| Errno::EILSEQ)
}

/// Makes a path absolute and drops empty and `.` components.
pub fn absolute(path: &str) -> Result<String> {
    let mut all = if path.starts_with('/') { String::new() } else { current_dir()? };
    for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
        if !all.ends_with('/') {
            all.push('/');
        }
        all.push_str(name);
    }
    if all.is_empty() {
        all.push('/');
    }
    Ok(all)
}

/// Joins a name to a directory's path; an absolute name stays as it is.
pub fn join(dir: &str, name: &str) -> String {
    match name.starts_with('/') {
        true => name.to_owned(),
        false => format!("{}/{name}", dir.strip_suffix('/').unwrap_or(dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_have_no_empty_and_dot_components() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        for (path, plain) in [("/", "/"), ("//./", "/"), ("/a//b/./c/", "/a/b/c"), ("/a/../b", "/a/../b")] {
            assert_eq!(absolute(path).unwrap(), plain);
        }
        assert_eq!(absolute(".").unwrap(), here);
        assert_eq!(absolute("./a/").unwrap(), format!("{here}/a"));
    }

    #[test]
    fn join_equals_that_of_the_standard_library() {
        for (dir, name) in [("/a", "b"), ("/a/", "b/c"), ("/a", "/b"), ("/", "b"), ("a", "../b")] {
            assert_eq!(join(dir, name), std::path::Path::new(dir).join(name).to_str().unwrap());
        }
    }
}
