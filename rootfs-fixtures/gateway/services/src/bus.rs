//! Serial lines, I2C and GPIO through the kernel's devices.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

/// Opens a serial line, raw, for reading or also for writing.
///
/// The host has set its speed, because the speed belongs to the wiring.
pub fn serial(path: &str, write: bool) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(write).custom_flags(libc::O_NOCTTY).open(path)?;
    let mut settings = tcgetattr(&file)?;
    cfmakeraw(&mut settings);
    tcsetattr(&file, SetArg::TCSANOW, &settings)?;
    Ok(file)
}

/// The kernel's structures and requests.
#[allow(missing_docs)]
mod raw {
    /// `union i2c_smbus_data`.
    #[repr(C)]
    pub union Block {
        pub word: u16,
        pub bytes: [u8; 34],
    }

    /// `struct i2c_smbus_ioctl_data`.
    #[repr(C)]
    pub struct Transfer {
        pub read_write: u8,
        pub command: u8,
        pub size: u32,
        pub data: *mut Block,
    }

    /// `struct gpiohandle_request`.
    #[repr(C)]
    pub struct LineRequest {
        pub offsets: [u32; 64],
        pub flags: u32,
        pub defaults: [u8; 64],
        pub label: [u8; 32],
        pub lines: u32,
        pub fd: i32,
    }

    nix::ioctl_write_int_bad!(i2c_address, 0x0703);
    nix::ioctl_readwrite_bad!(i2c_transfer, 0x0720, Transfer);
    nix::ioctl_readwrite!(line_handle, 0xB4, 0x03, LineRequest);
    nix::ioctl_readwrite!(line_get, 0xB4, 0x08, [u8; 64]);
    nix::ioctl_readwrite!(line_set, 0xB4, 0x09, [u8; 64]);
}
use raw::{Block, LineRequest, Transfer, i2c_address, i2c_transfer, line_get, line_handle, line_set};

/// Reads a word from a register of an I2C device.
///
/// The bus may be open for reading only.
pub fn i2c_word(bus: &File, address: u16, register: u8) -> io::Result<u16> {
    let mut block = Block { bytes: [0; 34] };
    // A read (1) of a word (3).
    let mut transfer = Transfer { read_write: 1, command: register, size: 3, data: &raw mut block };
    // SAFETY: the requests take an integer, and a structure that lives until the call returns and points to one that does.
    unsafe {
        i2c_address(bus.as_raw_fd(), i32::from(address))?;
        i2c_transfer(bus.as_raw_fd(), &mut transfer)?;
        Ok(block.word)
    }
}

/// A line of a GPIO chip.
pub struct Line(OwnedFd);

impl Line {
    /// Requests it as input (no value) or as output with a first value.
    pub fn open(chip: &str, line: u32, output: Option<u8>) -> io::Result<Line> {
        // The kernel does not ask for write access to the chip.
        let chip = File::open(chip)?;
        let mut request = LineRequest {
            offsets: [0; 64],
            flags: if output.is_some() { 2 } else { 1 },
            defaults: [0; 64],
            label: [0; 32],
            lines: 1,
            fd: -1,
        };
        request.offsets[0] = line;
        request.defaults[0] = output.unwrap_or(0);
        request.label[..7].copy_from_slice(b"gateway");
        // SAFETY: the structure lives until the call returns.
        unsafe { line_handle(chip.as_raw_fd(), &mut request)? };
        // SAFETY: the kernel has made this descriptor for us.
        Ok(Line(unsafe { OwnedFd::from_raw_fd(request.fd) }))
    }

    /// Its value.
    pub fn get(&self) -> io::Result<u8> {
        let mut values = [0; 64];
        // SAFETY: the array lives until the call returns.
        unsafe { line_get(self.0.as_raw_fd(), &mut values)? };
        Ok(values[0])
    }

    /// Sets an output.
    pub fn set(&self, value: u8) -> io::Result<()> {
        let mut values = [0; 64];
        values[0] = value;
        // SAFETY: the array lives until the call returns.
        unsafe { line_set(self.0.as_raw_fd(), &mut values)? };
        Ok(())
    }
}

/// The output of the device-controller.
///
/// It is a GPIO line, or a serial line that takes `0` or `1` and a newline.
pub struct Actuator {
    path: String,
    line: u32,
    open: Option<Output>,
}

enum Output {
    Line(Line),
    Serial(File),
}

impl Actuator {
    /// It is opened when it is used, and again after it was unplugged.
    pub fn new(path: &str, line: u32) -> Actuator {
        Actuator { path: path.to_owned(), line, open: None }
    }

    /// Sets it.
    pub fn set(&mut self, value: u8) -> Result<(), String> {
        let again = self.open.is_some();
        let set = self.try_set(value);
        // The node may have another device behind it now.
        let set = if set.is_err() && again { self.try_set(value) } else { set };
        set.map_err(|e| format!("{}: {e}", self.path))
    }

    fn try_set(&mut self, value: u8) -> io::Result<()> {
        let output = match self.open.take() {
            Some(output) => output,
            None if self.path.contains("gpiochip") => {
                Output::Line(Line::open(&self.path, self.line, Some(value))?)
            }
            None => Output::Serial(serial(&self.path, true)?),
        };
        match &output {
            Output::Line(line) => line.set(value)?,
            Output::Serial(file) => (&mut &*file).write_all(if value == 0 { b"0\n" } else { b"1\n" })?,
        }
        self.open = Some(output);
        Ok(())
    }
}
