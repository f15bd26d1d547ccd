//! A guest that never returns when it is asked what it is.

use vitalsign_plugin::Description;

struct Spins;

impl bad_describe::Describe for Spins {
    fn describe() -> Description {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}

bad_describe::export!(Spins);
