//! The unwinder that std asks for and we never use: nothing unwinds and no backtrace is printed, since a panic aborts.
//! Each function answers that there is no caller. Written without `core`, which is built later than this.
#![feature(no_core, lang_items)]
#![no_core]
#![allow(internal_features, non_snake_case, missing_docs)]

#[lang = "pointee_sized"]
pub trait PointeeSized {}
#[lang = "meta_sized"]
pub trait MetaSized: PointeeSized {}
#[lang = "sized"]
pub trait Sized: MetaSized {}
#[lang = "copy"]
pub trait Copy: Sized {}
impl Copy for usize {}
impl Copy for i32 {}

/// 5 is `_URC_END_OF_STACK`: the walk is over before it began.
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_Backtrace(_trace: usize, _arg: usize) -> i32 {
    5
}

/// Only called for a frame, of which there are none.
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_GetIP(_context: usize) -> usize {
    0
}

/// ARM's way to read a register of a frame; 1 is "not implemented".
#[cfg(target_arch = "arm")]
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_VRS_Get(_context: usize, _class: i32, _register: i32, _kind: i32, _value: usize) -> i32 {
    1
}

/// Named by the ARM unwind entries in musl's objects; called only by an unwinder.
#[cfg(target_arch = "arm")]
#[unsafe(no_mangle)]
pub extern "C" fn __aeabi_unwind_cpp_pr0() {}

/// As `__aeabi_unwind_cpp_pr0`, for long entries.
#[cfg(target_arch = "arm")]
#[unsafe(no_mangle)]
pub extern "C" fn __aeabi_unwind_cpp_pr1() {}
