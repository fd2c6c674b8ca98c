#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| embrun_fuzz::mount_options::judge(input));
