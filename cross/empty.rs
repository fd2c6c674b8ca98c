//! An object file with nothing in it, in the place of gcc's crtbegin.o and crtend.o.
#![feature(no_core)]
#![no_core]
#![allow(internal_features)]
