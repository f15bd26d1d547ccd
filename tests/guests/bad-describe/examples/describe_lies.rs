//! A guest whose description is nonsense: a name that is none, a schema that is no JSON, a summary of 10 MB.

use vitalsign_plugin::{Description, Grant};

struct Lies;

impl bad_describe::Describe for Lies {
    fn describe() -> Description {
        Description {
            name: "\u{1b}[31mNot a name\n".to_owned(),
            summary: "x".repeat(10_000_000),
            config_schema: "{ this is no JSON".to_owned(),
            grants: vec![Grant::Secret("\0".to_owned()), Grant::Http("not an origin".to_owned())],
        }
    }
}

bad_describe::export!(Lies);
