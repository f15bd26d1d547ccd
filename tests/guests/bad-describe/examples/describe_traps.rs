//! A guest that traps when it is asked what it is.

use vitalsign_plugin::Description;

struct Traps;

impl bad_describe::Describe for Traps {
    #[expect(clippy::panic, reason = "what this guest is for")]
    fn describe() -> Description {
        panic!("this guest does not say what it is");
    }
}

bad_describe::export!(Traps);
